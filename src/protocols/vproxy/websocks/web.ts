/** One file that may be shown, not read yet. */
export interface WebFile {
  readonly byteLength: number;
  /** Its bytes, in chunks that are given. Ending the iteration early closes the file. */
  read(): AsyncIterable<Uint8Array>;
}

/** A folder of files to show. */
export interface WebFiles {
  /**
   * Finds a file below the folder; what links lead out of it is absent.
   *
   * @param path starts with a slash, no segment is `..`, decoded
   */
  find(path: string): Promise<WebFile | "folder" | undefined>;
}

/** What requests without an upgrade get. */
export interface WebOptions {
  /** Absent: everything is 400. */
  readonly files?: WebFiles | undefined;
  /** Resolves names for `/tools/resolve`; absent: there is no such tool. */
  readonly resolve?: ((name: string) => Promise<readonly string[]>) | undefined;
  /** Lets everybody resolve, as the original does. @default false */
  readonly isResolveOpen?: boolean | undefined;
}
