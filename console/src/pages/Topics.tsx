import "./topics.css";
import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { feedState, look, reveal, tree, viewProblem } from "../feed";
import { count } from "../format";
import { Icon } from "../parts/Icon";
import { go, route } from "../router";
import { t } from "../texts";
import { filterMistake } from "./client/filters";
import { remember } from "./topics/ring";
import { TopicPanel } from "./topics/TopicPanel";
import { TreeGrid } from "./topics/TreeGrid";

/** Typing settles for so long before the server is asked. */
const SETTLE_MS = 150;

/** The live tree of topics, and the one that is selected. */
export function Topics() {
  const selected = route.value.argument || null;
  const select = (topic: string) => go("topics", topic, {}, selected !== null);
  useEffect(() => {
    remember(selected);
    if (selected !== null) reveal(selected);
    look({ selected });
  }, [selected]);
  useEffect(() => () => look({ selected: null, count: 0 }), []);
  return (
    <div class={selected === null ? "topics" : "topics with-panel"}>
      <section class="card topics-main" aria-labelledby="topics-title">
        <header class="topics-head">
          <h1 id="topics-title">{t.nav.topics}</h1>
          <Totals />
          <Search />
        </header>
        <TreeGrid selected={selected} onSelect={select} isList={isSearching.value} />
        <Nothing />
      </section>
      {selected !== null && <TopicPanel key={selected} topic={selected} onClose={() => go("topics")} />}
    </div>
  );
}

function Totals() {
  const known = tree.value;
  if (!known) return <span />;
  return (
    <p class="muted small" role="status">
      {isSearching.value
        ? t.topics.found(count(known.rows_total), count(known.topics_total))
        : t.topics.total(count(known.topics_total))}
      {known.capped && ` · ${isSearching.value ? t.topics.foundCapped : t.topics.capped}`}
    </p>
  );
}

/** What is found comes as a list of whole topics. */
const isSearching = signal(false);

/** A text, or a filter with `+` and `#`: one of them. */
function Search() {
  const [kind, setKind] = useState<"text" | "filter">("text");
  const [text, setText] = useState("");
  const mistake = kind === "filter" && text !== "" ? filterMistake(text) : null;
  useEffect(() => {
    if (mistake) return;
    const timer = window.setTimeout(() => {
      isSearching.value = text !== "";
      look({ search: kind === "text" ? text : "", filter: kind === "filter" ? text : "" });
    }, SETTLE_MS);
    return () => window.clearTimeout(timer);
  }, [kind, text]);
  useEffect(
    () => () => {
      isSearching.value = false;
      look({ search: "", filter: "" });
    },
    [],
  );
  const problem = mistake ? t.client.subscriptions.mistakes[mistake] : viewProblem.value;
  return (
    <search class="topics-search">
      <div class="search-box">
        <Icon name="search" />
        <input
          type="search"
          value={text}
          placeholder={kind === "text" ? t.topics.searchText : t.topics.searchFilter}
          aria-label={kind === "text" ? t.topics.searchTextLabel : t.topics.searchFilterLabel}
          aria-invalid={problem ? true : undefined}
          aria-describedby={problem ? "search-problem" : undefined}
          spellcheck={false}
          onInput={(event) => setText(event.currentTarget.value)}
        />
      </div>
      <select
        class="kind"
        value={kind}
        aria-label={t.topics.searchKind}
        onChange={(event) => setKind(event.currentTarget.value === "filter" ? "filter" : "text")}
      >
        <option value="text">{t.topics.kind.text}</option>
        <option value="filter">{t.topics.kind.filter}</option>
      </select>
      {problem && (
        <p id="search-problem" class="error small" role="alert">
          {problem}
        </p>
      )}
    </search>
  );
}

function Nothing() {
  const known = tree.value;
  if (feedState.value === "lost") return <p class="empty over">{t.topics.lost}</p>;
  if (!known) return <p class="empty over">{t.topics.waiting}</p>;
  if (known.rows_total === 0) return <p class="empty over">{known.topics_total === 0 ? t.topics.none : t.topics.noMatch}</p>;
  return null;
}
