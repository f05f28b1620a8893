import "./security.css";
import { go, href, route } from "../router";
import { t } from "../texts";
import { Certificates } from "./security/Certificates";
import { Rules } from "./security/Rules";
import { Users } from "./security/Users";

const parts = { users: Users, rules: Rules, certificates: Certificates };
type Part = keyof typeof parts;
const names = Object.keys(parts) as Part[];

/** Who may come in, what they may do, and who we are. */
export function Security() {
  const part = names.find((name) => name === route.value.argument) ?? "users";
  const Current = parts[part];
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = names[(names.indexOf(part) + step + names.length) % names.length] ?? "users";
    go("security", next, {}, true);
    document.getElementById(`tab-${next}`)?.focus();
  };
  return (
    <>
      <header class="page-head">
        <h1>{t.nav.security}</h1>
        <div class="tabs" role="tablist" aria-label={t.nav.security} onKeyDown={onKeyDown}>
          {names.map((name) => (
            <a
              key={name}
              id={`tab-${name}`}
              role="tab"
              href={href("security", name)}
              aria-selected={name === part}
              tabIndex={name === part ? 0 : -1}
            >
              {t.security.part[name]}
            </a>
          ))}
        </div>
      </header>
      <div role="tabpanel" aria-labelledby={`tab-${part}`} class="stack">
        <Current />
      </div>
    </>
  );
}
