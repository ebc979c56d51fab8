import type { Imported, ImportOptions } from "../config/imported.ts";

/** A kind of configuration of another program that can be converted to ours. */
export type Importer = FileImporter | WordsImporter;

/** Takes the text of a file. */
export interface FileImporter {
  readonly takes: "file";
  /** @throws ConfigError with every problem, one per line, when it cannot be read */
  convert(text: string, options: ImportOptions): Promise<Imported>;
}

/** Takes the words of a command line. */
export interface WordsImporter {
  readonly takes: "words";
  /** @throws ConfigError when they cannot be understood */
  convert(words: readonly string[], options: ImportOptions): Promise<Imported>;
}

/** Every importer by the word that stands for it; each is loaded when it is needed. */
export const IMPORTERS: ReadonlyMap<string, Importer> = new Map<string, Importer>([
  [
    "vproxy",
    {
      takes: "file",
      async convert(text, options) {
        const { importVproxyAgent } = await import("../import/vproxy/convert-agent.ts");
        return importVproxyAgent(text, options);
      },
    },
  ],
  [
    "vproxy-server",
    {
      takes: "words",
      async convert(words, options) {
        const { importVproxyServer } = await import("../import/vproxy/convert-server.ts");
        return importVproxyServer(words, options);
      },
    },
  ],
]);
