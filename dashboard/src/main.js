// The frame around every page: navigation, keys of the keyboard, signing in, and loading the page that is asked for.

import { html, render, useEffect, useState } from "../vendor/core.js";
import { away, introduce, key, me, signIn, signOut, wanted } from "./api.js";
import { go, href, route } from "./router.js";
import { Icon, Logo } from "./ui/icons.js";
import { Confirm, Dialog, Failure, Loading, Toasts, useTitle } from "./ui/parts.js";

const PAGES = [
  { id: "runs", label: "Runs", keys: "g r", load: () => import("./pages/runs.js") },
  { id: "flows", label: "Flows", keys: "g f", load: () => import("./pages/flows.js") },
  { id: "playground", label: "Playground", keys: "g p", load: () => import("./pages/playground.js") },
  { id: "operators", label: "Operators", keys: "g o", load: () => import("./pages/operators.js") },
  { id: "indexes", label: "Indexes", keys: "g i", load: () => import("./pages/indexes.js") },
  { id: "models", label: "Models", keys: "g m", load: () => import("./pages/models.js") },
  { id: "eval", label: "Eval", keys: "g e", load: () => import("./pages/evals.js") },
];
/** Pages of one thing: `runs/ID`. */
const ONES = {
  runs: () => import("./pages/run.js"),
  flows: () => import("./pages/flow.js"),
};
const DIFF = () => import("./pages/diff.js");

/** How often a service that cannot be reached is asked whether it is back, in milliseconds. */
const BACK_MS = 2_000;

const THEME = "anabranch.theme";

function theme(next) {
  if (next) {
    localStorage.setItem(THEME, next);
  }
  const is = localStorage.getItem(THEME);
  if (is) document.documentElement.dataset.theme = is;
  const isDark = is ? is === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return isDark ? "dark" : "light";
}

theme();

/** Which module shows where we are. */
function wantedPage({ parts: [first, second], query }) {
  if (first === "diff") return { id: `diff ${query.get("a")} ${query.get("b")}`, title: "Compare two runs", load: DIFF, props: { a: query.get("a"), b: query.get("b") } };
  if (second && ONES[first]) return { id: `${first} ${second}`, title: second === "~new" ? "New flow" : second, load: ONES[first], props: { id: second } };
  const page = PAGES.find((one) => one.id === first);
  return page && { id: first, title: page.label, load: page.load, props: { name: second } };
}

function Page() {
  const [shown, setShown] = useState(null);
  const asked = wantedPage(route.value);
  const id = asked?.id;
  useTitle(asked?.title ?? "No such page");
  useEffect(() => {
    let isCurrent = true;
    // Once the service is back, what could not be loaded is.
    if (!asked || (shown?.id === id && !shown.error)) return undefined;
    asked.load().then(
      (module) => isCurrent && setShown({ id, Page: module.default }),
      // Either nobody answers, or the file is gone: the service was updated while the page was open.
      async () => {
        const problem = await introduce().then(() => null, (error) => error);
        const text = problem?.code === "unreachable" ? "The service cannot be reached." : "This page belongs to another version of the service. Load it again.";
        if (isCurrent) setShown({ id, error: new Error(text) });
      },
    );
    return () => {
      isCurrent = false;
    };
  }, [id, away.value]);
  useEffect(() => {
    document.querySelector(".main")?.scrollTo(0, 0);
  }, [id]);
  if (!asked) return html`<div class="page"><h1>There is no such page</h1><p><a href="#/runs">Show the runs</a></p></div>`;
  if (!shown || shown.id !== id) return html`<div class="page"><${Loading} /></div>`;
  if (shown.error) return html`<div class="page"><${Failure} error=${shown.error} again=${() => location.reload()} /></div>`;
  return html`<${shown.Page} key=${id} ...${asked.props} />`;
}

function SignIn({ why }) {
  const [text, setText] = useState("");
  const [error, setError] = useState(why);
  const enter = async (event) => {
    event.preventDefault();
    signIn(text);
    try {
      await introduce();
    } catch (problem) {
      signOut();
      wanted.value = problem.message;
      setError(problem.message);
    }
  };
  return html`<main class="signin" id="main"><form class="card stack" onSubmit=${enter}>
    <div class="row"><span class="mark"><${Logo} /></span><h1>Anabranch</h1></div>
    <p class="soft">This service wants an API key. It is kept in this tab alone and forgotten when you close it.</p>
    <div class="field"><label for="key">API key</label>
      <input id="key" class="input mono" type="password" autocomplete="off" placeholder="anb_…" required autofocus
        aria-invalid=${Boolean(error)} aria-describedby="key-error" value=${text} onInput=${(event) => setText(event.target.value)} />
      <div class="wrong" id="key-error" role="alert">${error || ""}</div></div>
    <button class="btn primary">Sign in</button>
    <p class="dim">Make one with <code>anabranch keys create</code>.</p>
  </form></main>`;
}

const SHORTCUTS = [
  ["g then r, f, p, o, i, m, e", "Go to a page"],
  ["/", "Search"],
  ["j, k or ↓, ↑", "Next or previous row"],
  ["Enter", "Open"],
  ["x", "Select a run"],
  ["c", "Cancel the selected runs, or the open one"],
  ["r", "Retry the selected runs, or the open one"],
  ["Esc", "Close what is open"],
  ["?", "Show this list"],
];

function useShortcuts(setHelp) {
  useEffect(() => {
    let isChord = false;
    const onKey = (event) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.closest?.("input, textarea, select, dialog, [contenteditable]") || event.composedPath()[0]?.isContentEditable) return;
      const taken = () => {
        event.preventDefault();
        event.stopImmediatePropagation();
      };
      if (isChord) {
        if (event.key === "Shift") return;
        isChord = false;
        // The second key of a chord is never a command of the page: `g r` must not retry the run that is open.
        taken();
        const page = PAGES.find((one) => one.keys === `g ${event.key}`);
        if (page) go([page.id]);
      } else if (event.key === "g") {
        isChord = true;
        taken();
      } else if (event.key === "?") setHelp(true);
      else if (event.key === "/") {
        const search = document.querySelector("[data-search]");
        if (search) {
          taken();
          search.focus();
        }
      }
    };
    // Before the page, whose keys may be the second ones of a chord.
    addEventListener("keydown", onKey, true);
    return () => removeEventListener("keydown", onKey, true);
  }, []);
}

function Frame() {
  const [isDark, setDark] = useState(theme() === "dark");
  const [help, setHelp] = useState(false);
  useShortcuts(setHelp);
  useEffect(() => {
    if (!away.value) return undefined;
    const timer = setInterval(() => introduce().catch(() => {}), BACK_MS);
    return () => clearInterval(timer);
  }, [away.value]);
  const here = route.value.parts[0] === "diff" ? "runs" : route.value.parts[0];
  // On a phone the navigation is wider than the screen.
  useEffect(() => {
    document.querySelector(".side nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  }, [here]);
  const flip = () => {
    theme(isDark ? "light" : "dark");
    setDark(!isDark);
  };
  return html`<a class="skip" href="#main" onClick=${(event) => {
    event.preventDefault();
    document.querySelector("#main").focus();
  }}>Skip to the page</a>
  <div class="frame">
    <header class="side">
      <a class="brand" href="#/runs" aria-label="Anabranch"><${Logo} /><span>Anabranch</span></a>
      <nav aria-label="Pages">${PAGES.map((page) => html`<a key=${page.id} href=${href([page.id])}
        aria-current=${here === page.id ? "page" : undefined} title=${page.keys}><${Icon} name=${page.id} />${page.label}</a>`)}</nav>
      <div class="foot">
        <div class="about">${me.value && html`<div class="cut" title="Tenant">${me.value.tenant}</div><div>Version ${me.value.version}</div>`}</div>
        <div class="row" style=${{ gap: "2px" }}>
          <button class="btn bare icon small" aria-label=${isDark ? "Light colours" : "Dark colours"} title=${isDark ? "Light colours" : "Dark colours"} onClick=${flip}><${Icon} name=${isDark ? "sun" : "moon"} /></button>
          <button class="btn bare icon small" aria-label="Keys of the keyboard" title="Keys of the keyboard" onClick=${() => setHelp(true)}>?</button>
          <a class="btn bare icon small about" href="../docs" aria-label="API reference" title="API reference"><${Icon} name="book" /></a>
          ${key() && html`<button class="btn bare icon small" aria-label="Sign out" title="Sign out" onClick=${() => {
            signOut();
            wanted.value = "";
          }}><${Icon} name="key" /></button>`}
        </div>
      </div>
    </header>
    <main class="main" id="main" tabindex="-1">${away.value && html`<div class="away" role="alert"><strong>The service cannot be reached.</strong> What is shown is from before; it is asked again until it answers.</div>`}<${Page} /></main>
  </div>
  ${help && html`<${Dialog} title="Keys of the keyboard" onClose=${() => setHelp(false)}>
    <table class="plain"><tbody>${SHORTCUTS.map(([keys, what]) => html`<tr key=${keys}><td><kbd>${keys}</kbd></td><td>${what}</td></tr>`)}</tbody></table>
  <//>`}`;
}

function App() {
  const [error, setError] = useState(null);
  const begin = () => {
    setError(null);
    introduce().catch((problem) => wanted.value === null && setError(problem));
  };
  useEffect(begin, []);
  if (wanted.value !== null) return html`<${SignIn} why=${wanted.value} /><${Toasts} />`;
  if (error && error.status !== 403) return html`<div class="page"><${Failure} error=${error} again=${begin} /></div>`;
  return html`<${Frame} /><${Confirm} /><${Toasts} />`;
}

const app = document.querySelector("#app");
app.replaceChildren();
render(html`<${App} />`, app);
