import { useState } from "preact/hooks";
import { logIn, refusal, words } from "../api";
import { Button } from "../parts/Button";
import { Field } from "../parts/Field";
import { t } from "../texts";

/** The administrators' login. */
export function Login() {
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await logIn(username, password);
    } catch (error) {
      refusal.value = words(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <main class="login">
      <form class="card" onSubmit={submit} aria-labelledby="login-title">
        <img src="./icon.svg" alt="" width="44" height="44" />
        <h1 id="login-title">{t.login.title}</h1>
        <p class="muted">{t.login.hint}</p>
        <Field label={t.login.username}>
          <input value={username} onInput={(e) => setUsername(e.currentTarget.value)} autoComplete="username" required />
        </Field>
        <Field label={t.login.password}>
          <input
            type="password"
            value={password}
            onInput={(e) => setPassword(e.currentTarget.value)}
            autoComplete="current-password"
            required
          />
        </Field>
        {refusal.value && (
          <p class="error" role="alert">
            {refusal.value}
          </p>
        )}
        <Button kind="primary" type="submit" busy={busy}>
          {t.login.submit}
        </Button>
        <p class="muted small">{t.login.code}</p>
      </form>
    </main>
  );
}
