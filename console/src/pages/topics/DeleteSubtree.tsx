import { useEffect, useState } from "preact/hooks";
import { words } from "../../api";
import { count } from "../../format";
import { Button } from "../../parts/Button";
import { Dialog } from "../../parts/Dialog";
import { toast } from "../../parts/Toast";
import { t } from "../../texts";
import { clearBelow, countBelow, type Removed } from "./actions";

/** Asks before last values are removed, and says how many it would be. */
export function DeleteSubtree({ topic, onClose }: { topic: string; onClose: () => void }) {
  const [trial, setTrial] = useState<Removed | null>(null);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const matched = trial?.matched ?? 0;
  useEffect(() => {
    countBelow(topic).then(setTrial, (error: unknown) => setProblem(words(error)));
  }, [topic]);
  const confirm = async () => {
    setBusy(true);
    try {
      toast(t.topics.removed(count((await clearBelow(topic, matched)).removed)));
      onClose();
    } catch (error) {
      setProblem(words(error));
      setBusy(false);
    }
  };
  return (
    <Dialog
      title={t.topics.removeTitle}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{t.dialog.cancel}</Button>
          <Button kind="danger" busy={busy} disabled={matched === 0} onClick={() => void confirm()}>
            {t.topics.removeConfirm(count(matched))}
          </Button>
        </>
      }
    >
      <p>
        {trial ? t.topics.removeCount(count(matched)) : t.topics.counting} <code class="break">{topic}/#</code>
      </p>
      {trial && trial.topics.length > 0 && (
        <ul class="mono small removal-list" tabIndex={0} aria-label={t.topics.removeList}>
          {trial.topics.map((it) => (
            <li key={it} class="break">
              {it}
            </li>
          ))}
          {matched > trial.topics.length && <li class="muted">{t.topics.andMore(count(matched - trial.topics.length))}</li>}
        </ul>
      )}
      <p class="muted small">{t.topics.removeHint}</p>
      {problem && (
        <p class="error" role="alert">
          {problem}
        </p>
      )}
    </Dialog>
  );
}
