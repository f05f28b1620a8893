/**
 * Every text of the console. Another language is another object of the type `Texts`; what is said with numbers or names is
 * a function, so that each language can put them where they belong.
 */
const english = {
  name: "Althing",

  nav: {
    label: "Pages",
    skip: "Skip to the content",
    overview: "Overview",
    topics: "Topics",
    client: "Client",
    clients: "Clients",
    security: "Security",
    logOut: "Log out",
    version: (version: string) => `Althing ${version}`,
  },
  feed: {
    connecting: "connecting …",
    live: "live",
    lost: "The broker is away",
  },
  theme: {
    title: "Colours: as the system, light, dark",
    auto: "System",
    light: "Light",
    dark: "Dark",
  },
  login: {
    title: "Log in",
    hint: "As a user of the group “admin”.",
    username: "Name",
    password: "Password",
    submit: "Log in",
    code: "Or open the address that the broker prints when it starts: it carries a code that logs you in once.",
  },
  api: {
    away: "The broker does not answer.",
    status: (status: number, words: string) => `The broker answered ${status} ${words}.`,
  },
  copy: { copy: "Copy", copied: "Copied" },
  dialog: { close: "Close", cancel: "Cancel" },

  overview: {},
  topics: {},
  security: {},
  client: {},
  clients: {},
};

export type Texts = typeof english;

/** The texts of the language in use. */
export const t: Texts = english;
