import { useEffect } from "preact/hooks";
import { access, logOut } from "./api";
import { feedState, overview, startFeed } from "./feed";
import { Icon } from "./parts/Icon";
import { Toasts } from "./parts/Toast";
import { Clients } from "./pages/Clients";
import { Client } from "./pages/Client";
import { Login } from "./pages/Login";
import { Overview } from "./pages/Overview";
import { Security } from "./pages/Security";
import { Topics } from "./pages/Topics";
import { type Page, pages, href, route } from "./router";
import { t } from "./texts";
import { nextTheme, theme } from "./theme";

/** The frame around every page: who may see it, where one is, and whether the broker is there. */
export function App() {
  const state = access.value;
  if (state === "asking") return <main class="login" aria-busy="true" />;
  return (
    <>
      {state === "out" ? <Login /> : <Frame />}
      <Toasts />
    </>
  );
}

const components: Record<Page, () => preact.JSX.Element> = {
  overview: Overview,
  topics: Topics,
  client: Client,
  clients: Clients,
  security: Security,
};

function Frame() {
  useEffect(startFeed, []);
  const page = route.value.page;
  const Current = components[page];
  useEffect(() => {
    document.title = `${t.nav[page]} · ${t.name}`;
  }, [page]);
  return (
    <div class="frame">
      <a class="skip" href="#content" onClick={skip}>
        {t.nav.skip}
      </a>
      <header class="rail">
        <a class="brand" href={href("overview")}>
          <img src="./icon.svg" alt="" width="26" height="26" />
          <span>{t.name}</span>
        </a>
        <nav aria-label={t.nav.label}>
          {pages.map((name) => (
            <a key={name} href={href(name)} aria-current={name === page ? "page" : undefined}>
              <Icon name={name} />
              <span>{t.nav[name]}</span>
            </a>
          ))}
        </nav>
        <Foot />
      </header>
      <main id="content" class={`content page-${page}`} tabIndex={-1}>
        <Current />
      </main>
    </div>
  );
}

function Foot() {
  const state = feedState.value;
  return (
    <div class="rail-foot">
      <p class={`feed-state ${state}`} role="status">
        <span class="dot" />
        <span>{t.feed[state]}</span>
      </p>
      {overview.value?.version && <p class="version">{t.nav.version(overview.value.version)}</p>}
      <div class="row">
        <button type="button" class="quiet" onClick={nextTheme} title={t.theme.title}>
          <Icon name={theme.value} />
          <span>{t.theme[theme.value]}</span>
        </button>
        <button type="button" class="quiet" onClick={() => void logOut()} title={t.nav.logOut} aria-label={t.nav.logOut}>
          <Icon name="out" />
        </button>
      </div>
    </div>
  );
}

/** The address keeps the route, so the link must not change it. */
function skip(event: Event) {
  event.preventDefault();
  document.getElementById("content")?.focus();
}
