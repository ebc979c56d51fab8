/** Where the bytes of messages live: a `SlabPool`, or {@link NEW_MEMORY}. */
export interface Memory {
  /** Gives so many bytes, with anything in them. */
  allocate(byteLength: number): Uint8Array;
  /** Takes back what was copied, and will not be read again. */
  recycle(bytes: Uint8Array): void;
}

/** Memory that nobody used before, and nobody will again. */
export const NEW_MEMORY: Memory = {
  allocate: (byteLength) => new Uint8Array(byteLength),
  recycle: () => {},
};
