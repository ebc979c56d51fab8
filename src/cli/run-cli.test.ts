import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fakeIo } from "../../test/support/fake-io.ts";
import { checkText } from "../config/check.ts";
import { runCli } from "./run-cli.ts";

const ID = "5b1dd6c0-0000-4000-8000-000000000001";

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command line in this process; nothing here starts to listen. */
const run = async (
  line: string,
  env: Record<string, string> = {},
  stdin = "",
): Promise<Outcome> => {
  const io = fakeIo(env, stdin);
  const code = await runCli(line === "" ? [] : line.split(" "), io);
  return { code, ...io.printed };
};

const COMMANDS = [
  "up",
  "serve",
  "connect",
  "provide",
  "run",
  "check",
  "ping",
  "cert",
  "print-config",
  "import",
  "completion",
];

describe("help", () => {
  test("fits one screen, and names every command", async () => {
    const { code, out } = await run("--help");
    assert.equal(code, 0);
    assertSize(out, 24);
    for (const command of COMMANDS) assert.match(out, new RegExp(`^  ${command} +\\S`, "m"));
  });

  test("of each command fits one screen and has examples that parse", async () => {
    for (const command of COMMANDS) {
      const { code, out } = await run(`${command} --help`);
      assert.equal(code, 0, command);
      assertSize(out, 40);
      assert.match(out, /\nExamples:\n {2}\S/, command);
    }
  });

  test("has examples that do what they say", async () => {
    for (const command of ["serve", "connect"]) {
      const { out } = await run(`${command} --help`);
      const lines = out.split("\nExamples:\n")[1]?.trim().split("\n") ?? [];
      assert.ok(lines.length >= 3);
      for (const line of lines) {
        const words = line
          .trim()
          .replace(/^ssh .*'(.*)' bogus$/, "$1")
          .replace("%h:%p", "h:22")
          .replaceAll("'", "");
        const { code, err } = await run(`print-config ${words.replace(/^sluice /, "")}`);
        assert.equal(code, 0, `${words}\n${err}`);
      }
    }
  });

  test("is what an empty command line gets, as a mistake", async () => {
    const { code, out, err } = await run("");
    assert.equal(code, 2);
    assert.match(out, /^Usage: sluice COMMAND/);
    assert.match(err, /which command\?/);
  });

  test("has a version", async () => {
    const { code, out } = await run("--version");
    assert.equal(code, 0);
    assert.match(out, /^\d+\.\d+\.\d+\n$/);
  });
});

describe("mistakes on the command line", () => {
  const table: readonly (readonly [string, number, RegExp])[] = [
    ["conect", 2, /unknown command 'conect'\s+\(Did you mean connect\?\)/],
    ["connect --dynmic 1080", 2, /unknown option '--dynmic'\s+\(Did you mean --dynamic\?\)/],
    ["connect", 2, /missing required argument 'URL'/],
    ["connect pong+tcp://env:ID@h", 2, /nothing would use the tunnel: add -D 1080/],
    ["connect png+tcp://env:ID@h -D 1", 2, /connect: tunnel system "png".*did you mean "pong"/],
    ["connect pong+tcp://env:ID@h?strems=1 -D 1", 2, /no option "strems" \(did you mean "streams"/],
    ["connect ptth+quic://env:ID@h -D 1", 2, /ptth is not in this version yet/],
    ["connect godoxy+dtls://h -L 1:h:2", 2, /-L 1:h:2: godoxy\+dtls carries datagrams alone: dial/],
    ["connect a=pong+tcp://env:I@h a=pong+tcp://env:I@h -D 1", 2, /"a" is used twice/],
    ["connect pong+tcp://env:ID@h -D x", 2, /-D x: "x" is no port/],
    ["connect pong+tcp://env:ID@h -L 1:/x", 2, /-L 1:\/x: a path cannot be reached/],
    ["connect pong+tcp://env:ID@h -D 1 --log-level lout", 2, /--log-level: "lout" is not one of/],
    ["connect pong+tcp://env:ID@h -D 1 --grace never", 2, /--grace: "never" is no duration/],
    [
      "connect pong+tcp://env:ID@h -D 1 --route .b=c",
      1,
      /routes\[0\]\.via: there is no way out named "c"/,
    ],
    ["connect pong+tcp://h -D 1", 1, /the URL names no credential/],
    ["connect pong+tcp://env:ID@h -D 1 -H 1", 1, /127.0.0.1:1 is taken by inbounds\[0\]/],
    ["connect pong+tcp://env:NOPE@h -D 0", 1, /environment variable NOPE is not set/],
    [
      "serve pong+tcp://:1",
      1,
      /would let nobody in: no client is named\nhint: name one with --client/,
    ],
    [
      "serve pong+tls://:1 --anonymous",
      1,
      /pong\+tls wants a certificate and its key\nhint: give --cert/,
    ],
    [
      "serve pong+tls://127.0.0.1:0 --anonymous --cert /nope --key /nope",
      1,
      /\/nope cannot be read: there is no such file/,
    ],
    ["serve pong+tcp://:1 --client alice=hunter2", 1, /client id of 7 characters is no UUID/],
    ["serve pong+tcp://:1 --client hunter2", 2, /--client: write NAME=ID/],
    ["serve pong+tcp://:1 --anonymous --allow 1.2.3.4/99", 2, /--allow 1.2.3.4\/99/],
    ["serve linksocks+ws://:1", 1, /no client is named\nhint: .*--provider office=TOKEN/],
    ["serve pong+tcp://:1 --anonymous --provider a=t", 2, /pong has no providers: --provider/],
    ["serve linksocks+ws://:1 --provider a=t --autonomy -D 1", 2, /so drop -D and -L/],
    ["serve linksocks+ws://:1 --provider a=t --connector b@c=u", 1, /no provider named "c"/],
    ["serve linksocks+ws://:1 --provider a=env:NOPE", 1, /provider "a": .*NOPE is not set/],
    ["serve vproxy+tcp://:1", 1, /no client is named\nhint: name one with --client alice=PASSWORD/],
    ["serve vproxy+tcp://:1 --client a=p:w", 1, /the password holds a colon/],
    ["serve vproxy+tcp://:1 --anonymous", 1, /vproxy has no strangers, every client logs in/],
    ["serve vproxy+kcp+tls://:1 --client a=b", 1, /vproxy\+kcp\+tls wants a certificate/],
    ["serve kcptun+kcp://:1", 1, /kcptun\+kcp wants the target .* add \?target=host:port/],
    ["serve kcptun+kcp://:1?target=a:1 --client a=b", 1, /kcptun knows no logins/],
    ["connect vproxy+tcp://h -D 1", 1, /names no credential \(user:password\)/],
    ["connect kcptun+kcp://h -D 1", 2, /-D: kcptun\+kcp leads to the one target .* use -L 5000/],
    ["connect kcptun+kcp://h -H 1", 2, /-H: kcptun\+kcp leads to the one target/],
    ["connect kcptun+kcp://h -L x", 2, /-L x: write LISTEN:HOST:PORT/],
    ["connect websocks:quic://a:b@h:1 -D 1", 2, /out of scope: quic is not carried/],
    ["provide vproxy+tcp://a:b@h", 2, /vproxy has no provide role/],
    ["provide pong+tcp://env:ID@h", 2, /pong has no provide role; its remote always dials/],
    ["run /nope.yaml", 1, /\/nope.yaml: there is no such file/],
    ["check /nope.yaml", 1, /\/nope.yaml: there is no such file/],
    ["print-config conect", 2, /"conect" is no file and not one of .*did you mean "connect"/],
    ["import vprox a.conf", 2, /"vprox" is not one of vproxy, vproxy-server .*mean "vproxy"/],
    ["import vproxy", 2, /missing required argument 'INPUT'/],
    ["import vproxy a b", 2, /import vproxy: wants one file, and got 2/],
    ["import vproxy /nope.conf", 2, /\/nope.conf: there is no such file/],
    ["import vproxy-server -- listen x auth a:hunter2", 2, /listen: "x" is no port/],
    ["import vproxy-server -- listen 1 auth a:hunter2:b", 2, /auth: pair 1 is no user:password/],
    ["import vproxy-server -- auth a:b hunter2", 2, /the word after auth is none of listen/],
    ["completion bsh", 2, /shell "bsh" is not one of bash, zsh, fish \(did you mean "bash"\?\)/],
  ];
  for (const [line, code, expected] of table) {
    test(`sluice ${line} exits with ${code} and says why`, async () => {
      const { code: actual, out, err } = await run(line);
      assert.match(err, expected);
      assert.equal(actual, code);
      assert.equal(out, "");
      assert.doesNotMatch(err, /hunter2/);
    });
  }

  test("a wrong environment variable is named", async () => {
    const { code, err } = await run("print-config connect pong+tcp://env:ID@h -D 1", {
      SLUICE_LOG_LEVEL: "lout",
    });
    assert.equal(code, 1);
    assert.match(err, /environment variable SLUICE_LOG_LEVEL: "lout" is not one of/);
  });
});

describe("check", () => {
  let folder = "";
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "sluice-cli-"));
  });
  after(() => rm(folder, { recursive: true }));

  test("prints every problem of every file, and exits with 1", async () => {
    const [good, bad] = [join(folder, "good.yaml"), join(folder, "bad.yaml")];
    await writeFile(good, "grace: 1s\n");
    await writeFile(bad, "grace: soon\nlog: { levl: info }\n");
    const { code, out, err } = await run(`check ${good} ${bad}`);
    assert.equal(code, 1);
    assert.equal(
      out,
      `${good}: ok\n` +
        `${bad}:1:8: grace: "soon" is no duration: write 250ms, 15s, 1m or 2h\n` +
        `${bad}:2:8: log.levl: unknown key "levl" (did you mean "level"?)\n`,
    );
    assert.equal(err, "");
    assert.equal((await run(`check ${good}`)).code, 0);
    assert.equal((await run("check", { SLUICE_CONFIG: bad })).code, 1);
    assert.equal((await run("check -", {}, "grace: 1s\n")).out, "stdin: ok\n");
  });

  test("reads the host lists that routes name", async () => {
    const [config, list] = [join(folder, "lists.yaml"), join(folder, "list.txt")];
    await writeFile(config, `routes: [{ list: ["${list}", "/nope"], via: block }]\n`);
    await writeFile(list, "||a.example\n/(/\n");
    assert.deepEqual(await run(`check ${config}`), {
      code: 1,
      out: `${list}:2: regular expression "(": a ( without its ), at character 1\nlist /nope: there is no such file\n`,
      err: "",
    });
  });

  test("is made by run as well, before anything starts", async () => {
    const { code, out, err } = await run("run -", {}, "inbounds: [{ socks: x }]\n");
    assert.equal(code, 1);
    assert.equal(out, "");
    assert.equal(err, 'stdin:1:21: inbounds[0].socks: "x" is no port, host:port or /path\n');
  });
});

describe("print-config", () => {
  test("prints what a command line stands for", async () => {
    const { code, out, err } = await run(
      "print-config connect home=pong+tls://env:ID@host --route .lan=home --log-level warn " +
        "-D 1080 -L -:bogus:22 --user bob:env:BOB --grace 3",
    );
    assert.equal(code, 0);
    assert.equal(err, "");
    assert.equal(
      out,
      `connect:
  home:
    url: pong+tls://env:ID@host:443
    retry:
      min: 250ms
      max: 30s
    wait: 5s
inbounds:
  - socks: 127.0.0.1:1080
    users:
      bob: env:BOB
  - forward: "-"
    to: bogus:22
routes:
  - domain:
      - .lan
    via: home
log:
  format: auto
  level: warn
grace: 3s
`,
    );
  });

  test("prints what reads back as the same, whatever the command", async () => {
    const lines = [
      "up",
      "up -D 9000",
      `serve pong+tcp://127.0.0.1:0 --client alice=${ID} --allow 127.0.0.1:80 --deny *.lan -H 0`,
      `serve pong+wss://${ID}@:443/a%20b --cert a.pem --key env:KEY`,
      "serve pong+tcp://:1 pong+ws://:2 --anonymous",
      `connect pong+ws://${ID}@h?header=X:%20y&idle=1m -L /tmp/x:h:22 -D [::1]:0`,
    ];
    for (const line of lines) {
      const first = await run(`print-config ${line}`);
      assert.equal(first.code, 0, `${line}\n${first.err}`);
      assert.deepEqual(checkText(first.out).problems, [], line);
      const second = await run("print-config run -", {}, first.out);
      assert.equal(second.out, first.out, line);
      assert.equal((await run("print-config -", {}, first.out)).out, first.out, line);
    }
  });

  test("says loudly that it prints secrets, and only then", async () => {
    const { out, err } = await run(`print-config connect pong+tcp://${ID}@h -D 1080`);
    assert.match(out, /^# SECRETS ARE WRITTEN OUT BELOW/);
    assert.ok(out.includes(ID));
    assert.match(err, /warning: secrets are written out: connect\.tunnel\.url\.credential/);
    assert.ok(!err.includes(ID));
  });
});

describe("completion", () => {
  test("knows every command in every shell", async () => {
    for (const shell of ["bash", "zsh", "fish"]) {
      const { code, out } = await run(`completion ${shell}`);
      assert.equal(code, 0);
      for (const command of COMMANDS) assert.ok(out.includes(command), `${shell} ${command}`);
      assert.match(out, /--?l?o?n?g?.*anonymous/);
    }
  });

  const complete = async (words: readonly string[]): Promise<string[]> => {
    const { out } = await run("completion bash");
    const script = `${out}
COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}
_sluice; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, status, stderr } = spawnSync("bash", ["-c", script], { encoding: "utf8" });
    assert.equal(status, 0, stderr);
    return stdout.split("\n").filter((word) => word !== "");
  };
  const skip = shellSkip("bash");

  test("completes commands, options and values in bash", { skip }, async () => {
    assert.deepEqual(await complete(["sluice", "pr"]), ["provide", "print-config"]);
    assert.deepEqual(await complete(["sluice", "serve", "pong+tcp://:1", "--an"]), ["--anonymous"]);
    assert.deepEqual(await complete(["sluice", "--log-level", "w"]), ["warn"]);
    assert.deepEqual(await complete(["sluice", "completion", ""]), ["bash", "zsh", "fish"]);
    assert.deepEqual(await complete(["sluice", "cert", "s"]), ["server", "show"]);
    assert.deepEqual(await complete(["sluice", "cert", "client", "--fo"]), ["--format", "--force"]);
    assert.deepEqual(await complete(["sluice", "cert", "client", "--format", "z"]), ["zip"]);
    assert.deepEqual(await complete(["sluice", "run", "package.j"]), ["package.json"]);
    assert.deepEqual(await complete(["sluice", "print-config", "con"]), ["connect"]);
    assert.deepEqual(await complete(["sluice", "import", "vproxy-"]), ["vproxy-server"]);
    assert.deepEqual(await complete(["sluice", "import", "vproxy", "package.j"]), ["package.json"]);
  });

  for (const [shell, check] of [
    ["zsh", ["-n"]],
    ["fish", ["--no-execute"]],
  ] as const) {
    test(`writes ${shell} that parses`, { skip: shellSkip(shell) }, async () => {
      const { out } = await run(`completion ${shell}`);
      const { status, stderr } = spawnSync(shell, [...check], { input: out, encoding: "utf8" });
      assert.equal(status, 0, stderr);
    });
  }
});

function assertSize(text: string, maxLines: number): void {
  const lines = text.trimEnd().split("\n");
  assert.ok(lines.length <= maxLines, `${lines.length} lines:\n${text}`);
  for (const line of lines) assert.ok(line.length <= 80, `${line.length} columns: ${line}`);
}

function shellSkip(shell: string): string | false {
  const { error } = spawnSync(shell, ["--version"]);
  return error === undefined ? false : `${shell} is not installed`;
}
