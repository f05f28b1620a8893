import { t } from "../texts";

export function Security() {
  return <h1>{t.nav.security}</h1>;
}
