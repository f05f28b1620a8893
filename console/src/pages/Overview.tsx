import { t } from "../texts";

export function Overview() {
  return <h1>{t.nav.overview}</h1>;
}
