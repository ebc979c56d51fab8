import type { Place } from "../../config/imported.ts";
import { TunnelError } from "../../errors.ts";

/** What the relaxed JSON of vproxy's configuration files is made of. */
export type VjsonNode = VjsonScalar | VjsonList | VjsonObject;

/** A word, number or text. Which of them it is, is up to who asks. */
export interface VjsonScalar {
  readonly kind: "scalar";
  readonly text: string;
  readonly place: Place;
}

/** A list, `[ … ]`. */
export interface VjsonList {
  readonly kind: "list";
  readonly items: readonly VjsonNode[];
  readonly place: Place;
}

/** A block, `{ … }`, in the order of the file, with every key that is there several times. */
export interface VjsonObject {
  readonly kind: "object";
  readonly entries: readonly VjsonEntry[];
  readonly place: Place;
}

/** One key with its value. Keys are never nested by their dots. */
export interface VjsonEntry {
  readonly key: string;
  readonly place: Place;
  readonly value: VjsonNode;
}

/** A text that is not in the relaxed JSON of vproxy. */
export class VjsonError extends TunnelError {
  override readonly name = "VjsonError";
  readonly place: Place;

  constructor(message: string, place: Place) {
    super("ERR_CONFIG", message);
    this.place = place;
  }
}
