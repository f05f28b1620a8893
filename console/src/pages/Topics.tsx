import { t } from "../texts";

export function Topics() {
  return <h1>{t.nav.topics}</h1>;
}
