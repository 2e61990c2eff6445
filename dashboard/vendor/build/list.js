// Copies the licence of every bundled package, and writes the list of them.
import { copyFileSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";

const packages = new Map([["@fontsource-variable/inter", ["inter.woff2"]]]);
const { outputs } = JSON.parse(readFileSync(process.argv[2], "utf8"));
for (const [file, { inputs }] of Object.entries(outputs)) {
  for (const path of Object.keys(inputs)) {
    const parts = path.split("node_modules/").at(-1).split("/");
    if (path.includes("node_modules/")) {
      const name = parts[0].startsWith("@") ? `${parts[0]}/${parts[1]}` : parts[0];
      const files = packages.get(name) ?? [];
      packages.set(name, [...new Set([...files, file.split("/").at(-1)])]);
    }
  }
}
const folder = "../licences";
for (const old of readdirSync(folder)) rmSync(`${folder}/${old}`);
const lines = [
  "# Packages of the dashboard",
  "",
  "Made by `dashboard/vendor/build/bundle`; the licence of each lies beside this list.",
  "",
  "| package | version | licence | in |",
  "|---|---|---|---|",
];
for (const [name, files] of [...packages].sort(([a], [b]) => (a < b ? -1 : 1))) {
  const at = `node_modules/${name}`;
  const { version, license } = JSON.parse(readFileSync(`${at}/package.json`, "utf8"));
  const text = readdirSync(at).find((file) => /^licen[cs]e/i.test(file));
  if (!text) throw new Error(`${name} has no licence file`);
  copyFileSync(`${at}/${text}`, `${folder}/${name.replace("@", "").replace("/", "-")}.txt`);
  lines.push(`| ${name} | ${version} | ${license} | ${files.map((file) => `\`${file}\``).join(", ")} |`);
}
writeFileSync(`${folder}/README.md`, `${lines.join("\n")}\n`);
