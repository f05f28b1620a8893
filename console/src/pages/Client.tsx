import { t } from "../texts";

export function Client() {
  return <h1>{t.nav.client}</h1>;
}
