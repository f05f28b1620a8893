import { useState } from "preact/hooks";
import { put, remove, words } from "../../api";
import { Badge } from "../../parts/Badge";
import { Button } from "../../parts/Button";
import { Dialog } from "../../parts/Dialog";
import { Check, Field } from "../../parts/Field";
import { Icon } from "../../parts/Icon";
import { Table } from "../../parts/Table";
import { toast } from "../../parts/Toast";
import { t } from "../../texts";
import { useLoaded } from "../../useLoaded";

interface User {
  name: string;
  groups: string[];
  scram: boolean;
}

/** Everyone in the users file. */
export function Users() {
  const { data, problem, reload } = useLoaded<User[]>("/api/v1/users");
  const [edited, setEdited] = useState<User | "new" | null>(null);
  const [leaving, setLeaving] = useState<User | null>(null);
  const done = () => {
    setEdited(null);
    setLeaving(null);
    reload();
  };
  return (
    <section class="card">
      <div class="row apart">
        <h2>{t.security.users}</h2>
        <Button onClick={() => setEdited("new")}>
          <Icon name="plus" /> {t.security.addUser}
        </Button>
      </div>
      {problem && <p class="error">{problem}</p>}
      {data && (
        <Table
          label={t.security.users}
          rows={data}
          rowKey={(it) => it.name}
          empty={t.security.noUsers}
          columns={[
            { key: "name", title: t.security.name, cell: (it) => <strong class="break">{it.name}</strong> },
            {
              key: "groups",
              title: t.security.groups,
              cell: (it) => (
                <span class="row tight-gap">
                  {it.groups.map((group) => (
                    <Badge key={group} tone={group === "admin" ? "accent" : "neutral"}>
                      {group}
                    </Badge>
                  ))}
                </span>
              ),
            },
            { key: "scram", title: "SCRAM", cell: (it) => (it.scram ? t.security.yes : t.security.no) },
            {
              key: "actions",
              title: t.security.change,
              untitled: true,
              numeric: true,
              cell: (it) => (
                <>
                  <Button kind="quiet" onClick={() => setEdited(it)} aria-label={t.security.editUser(it.name)}>
                    <Icon name="edit" />
                  </Button>
                  <Button kind="quiet" onClick={() => setLeaving(it)} aria-label={t.security.removeUser(it.name)}>
                    <Icon name="trash" />
                  </Button>
                </>
              ),
            },
          ]}
        />
      )}
      {edited && <UserForm user={edited === "new" ? null : edited} onClose={() => setEdited(null)} onDone={done} />}
      {leaving && <Leaving user={leaving} onClose={() => setLeaving(null)} onDone={done} />}
    </section>
  );
}

interface FormProps {
  /** Nobody yet: a new one. */
  user: User | null;
  onClose: () => void;
  onDone: () => void;
}

function UserForm({ user, onClose, onDone }: FormProps) {
  const [name, setName] = useState(user?.name ?? "");
  const [password, setPassword] = useState("");
  const [groups, setGroups] = useState(user?.groups.join(", ") ?? "");
  const [scram, setScram] = useState(user?.scram ?? true);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const save = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const list = groups.split(/[\s,]+/).filter(Boolean);
      const change = { groups: list, scram, ...(password ? { password } : {}) };
      await put(`/api/v1/users/${encodeURIComponent(name)}`, change);
      toast(t.security.saved(name));
      onDone();
    } catch (error) {
      setProblem(words(error));
      setBusy(false);
    }
  };
  return (
    <Dialog title={user ? t.security.editUser(user.name) : t.security.addUser} onClose={onClose}>
      <form class="stack tight" onSubmit={save}>
        {!user && (
          <Field label={t.security.name}>
            <input value={name} required autoComplete="off" onInput={(event) => setName(event.currentTarget.value)} />
          </Field>
        )}
        <Field label={t.login.password} {...(user ? { hint: t.security.passwordKept } : {})}>
          <input
            type="password"
            value={password}
            required={!user}
            autoComplete="new-password"
            onInput={(event) => setPassword(event.currentTarget.value)}
          />
        </Field>
        <Field label={t.security.groups} hint={t.security.groupsHint}>
          <input value={groups} onInput={(event) => setGroups(event.currentTarget.value)} />
        </Field>
        <Check label={t.security.scram} checked={scram} onChange={setScram} />
        {problem && (
          <p class="error" role="alert">
            {problem}
          </p>
        )}
        <div class="row end">
          <Button onClick={onClose}>{t.dialog.cancel}</Button>
          <Button kind="primary" type="submit" busy={busy}>
            {t.security.save}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

function Leaving({ user, onClose, onDone }: { user: User; onClose: () => void; onDone: () => void }) {
  const [problem, setProblem] = useState("");
  const confirm = async () => {
    try {
      await remove(`/api/v1/users/${encodeURIComponent(user.name)}`);
      toast(t.security.removed(user.name));
      onDone();
    } catch (error) {
      setProblem(words(error));
    }
  };
  return (
    <Dialog
      title={t.security.removeUser(user.name)}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{t.dialog.cancel}</Button>
          <Button kind="danger" onClick={() => void confirm()}>
            {t.security.remove}
          </Button>
        </>
      }
    >
      <p>{t.security.removeHint}</p>
      {problem && (
        <p class="error" role="alert">
          {problem}
        </p>
      )}
    </Dialog>
  );
}
