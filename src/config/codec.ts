import { z } from "zod";
import { ConfigError } from "../errors.ts";
import type { TextProblem } from "./tunnel-url.ts";

/** A schema of text in the file and `Value` in the program, in both directions. */
export type TextSchema<Value> = z.ZodType<Value, string | number>;

/** What editors and the reference page show. */
export interface Meta {
  readonly description: string;
  readonly examples?: readonly (string | number)[];
}

/** A codec's meta, and whether a bare number is an error: YAML drops the zeros in front of it. */
export interface CodecMeta extends Meta {
  readonly isTextOnly?: boolean;
}

/** A codec for text (a bare number counts as its digits) that fails with a {@link ConfigError}. */
export function textCodec<Value>(
  parse: (text: string) => Value,
  format: (value: Value) => string,
  meta: CodecMeta,
): TextSchema<Value> {
  return problemCodec(
    (text) => {
      try {
        return { value: parse(text), problems: [] };
      } catch (thrown) {
        if (!(thrown instanceof ConfigError)) throw thrown;
        const hint = thrown.hint === undefined ? "" : `; ${thrown.hint}`;
        return { value: undefined, problems: [{ offset: 0, message: thrown.message + hint }] };
      }
    },
    format,
    meta,
  );
}

/** A codec for text that can have several problems at once, each with its place in the text. */
export function problemCodec<Value>(
  read: (text: string) => {
    readonly value: Value | undefined;
    readonly problems: readonly TextProblem[];
  },
  format: (value: Value) => string,
  { isTextOnly = false, ...meta }: CodecMeta,
): TextSchema<Value> {
  const input = (isTextOnly ? z.string() : z.union([z.string(), z.number()])).meta({ ...meta });
  return z.codec(input, z.custom<Value>(), {
    decode: (text, context) => {
      const { value, problems } = read(String(text));
      if (value !== undefined) return value;
      for (const { message, offset } of problems) {
        context.issues.push({ code: "custom", message, input: text, params: { offset } });
      }
      return z.NEVER;
    },
    encode: format,
  });
}

/** One value or a list of them in the file, always a list in the program. */
export function oneOrMore<Value>(
  item: z.ZodType<Value, string | number>,
  description: string,
): z.ZodType<readonly Value[], string | number | (string | number)[]> {
  const list = z.array(item);
  const input = z.union([z.string(), z.number(), z.array(z.union([z.string(), z.number()]))]);
  return z
    .codec(input, list, {
      decode: (value) => (Array.isArray(value) ? value : [value]),
      encode: (values) => values,
    })
    .meta({ description });
}

/** Lets an entry be the text of its one required key alone. */
export function shorthand<Value>(key: string, schema: z.ZodType<Value>): z.ZodType<Value> {
  return z.codec(z.union([z.string(), schema]), z.custom<Value>(), {
    decode: (input, context) => {
      if (typeof input !== "string") return input;
      const result = schema.safeParse({ [key]: input }, { reportInput: true });
      if (result.success) return result.data;
      for (const { message, ...issue } of result.error.issues) {
        const params = issue.code === "custom" ? issue.params : undefined;
        context.issues.push({ code: "custom", message, input, ...(params && { params }) });
      }
      return z.NEVER;
    },
    encode: (value) => value,
  });
}
