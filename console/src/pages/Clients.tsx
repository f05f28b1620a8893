import { t } from "../texts";

export function Clients() {
  return <h1>{t.nav.clients}</h1>;
}
