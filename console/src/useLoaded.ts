import { useCallback, useEffect, useState } from "preact/hooks";
import { get, words } from "./api";

/** What a path of the interface holds: asked for once, and again when told. */
export function useLoaded<T>(path: string): { data: T | null; problem: string; reload: () => void } {
  const [data, setData] = useState<T | null>(null);
  const [problem, setProblem] = useState("");
  const [round, setRound] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    get<T>(path, abort.signal).then(
      (found) => {
        setData(found);
        setProblem("");
      },
      (error: unknown) => {
        if (!abort.signal.aborted) setProblem(words(error));
      },
    );
    return () => abort.abort();
  }, [path, round]);
  const reload = useCallback(() => setRound((n) => n + 1), []);
  return { data, problem, reload };
}
