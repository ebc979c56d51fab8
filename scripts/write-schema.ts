import { mkdir, writeFile } from "node:fs/promises";
import { configurationPage, schemaFile } from "./configuration-page.ts";

const root = new URL("../", import.meta.url);
await mkdir(new URL("schema/", root), { recursive: true });
await mkdir(new URL("docs/", root), { recursive: true });
await writeFile(new URL("schema/sluice.schema.json", root), schemaFile());
await writeFile(new URL("docs/configuration.md", root), configurationPage());
