// node-redis 4 and 5 and ioredis, as they are, against linger.
//
// Ports: LINGER_PORT; LINGER_QUICK_PORT, whose `linger` deadline is 100 ms; LINGER_IDLE_PORT, whose deadline is 100 ms too, with
// an `idle_timeout` of 1 s; LINGER_USERS_PORT, whose users ops and dev have LINGER_USERS_PASSWORD.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient as redis5 } from "redis";
import { createClient as redis4 } from "redis4";
import Redis from "ioredis";

const port = (name) => Number(process.env[name]);
const [MAIN, QUICK, IDLE] = ["LINGER_PORT", "LINGER_QUICK_PORT", "LINGER_IDLE_PORT"].map(port);
const [USERS, PASSWORD] = [port("LINGER_USERS_PORT"), process.env.LINGER_USERS_PASSWORD];
const DEADLINE_MS = 10_000;

let passed = 0;
let failed = 0;

async function until(what, look) {
  const end = Date.now() + DEADLINE_MS;
  while (Date.now() < end) {
    if (await look()) return;
    await sleep(10);
  }
  assert.fail(`waited in vain for ${what}`);
}

async function test(name, run) {
  const cleanups = [];
  let timer;
  try {
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("too slow")), 2 * DEADLINE_MS);
    });
    await Promise.race([run((cleanup) => cleanups.push(cleanup)), late]);
    passed += 1;
    console.log(`ok ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}\n    ${(error.stack ?? String(error)).replaceAll("\n", "\n    ")}`);
  } finally {
    clearTimeout(timer);
    for (const cleanup of cleanups) {
      try {
        await cleanup();
      } catch {
        // It has ended already.
      }
    }
  }
}

// An exception of a library outside of any promise must not pass for success.
process.on("uncaughtException", (error) => {
  failed += 1;
  console.log(`FAIL an exception nobody caught\n    ${error.stack}`);
});

// ---- node-redis ---------------------------------------------------------------------------------------

function nodeRedis(label, create, options) {
  const connect = async (defer, where = MAIN, more = {}) => {
    const client = create({ socket: { port: where, host: "127.0.0.1" }, ...options, ...more });
    client.errors = [];
    client.on("error", (error) => client.errors.push(error));
    await client.connect();
    defer(() => (client.destroy ? client.destroy() : client.disconnect()));
    return client;
  };
  const say = (name) => `${label}: ${name}`;
  const at = `${label.replaceAll(/\W/g, "")}`;

  return [
    [say("users"), async (defer) => {
      const client = await connect(defer, USERS, { username: "ops", password: PASSWORD });
      assert.equal(await client.sendCommand(["ACL", "WHOAMI"]), "ops");
      const dev = await connect(defer, USERS, { username: "dev", password: PASSWORD });
      await assert.rejects(dev.publish("other", "x"), /NOPERM/);
      // It would try again for ever.
      const socket = { port: USERS, host: "127.0.0.1", reconnectStrategy: false };
      await assert.rejects(connect(defer, USERS, { username: "dev", password: "wrong", socket }), /WRONGPASS/);
    }],
    [say("ping, echo, pipelined"), async (defer) => {
      const client = await connect(defer);
      assert.equal(await client.ping(), "PONG");
      assert.equal(await client.echo("hello"), "hello");
      const words = Array.from({ length: 2000 }, (_, i) => String(i));
      assert.deepEqual(await Promise.all(words.map((word) => client.echo(word))), words);
    }],
    [say("names, ids, errors"), async (defer) => {
      const client = await connect(defer, MAIN, { name: "at-connect" });
      assert.equal(await client.clientGetName(), "at-connect");
      await client.clientSetName("later");
      assert.equal(await client.clientGetName(), "later");
      const id = await client.clientId();
      assert.equal((await client.clientInfo()).id, id);
      assert.ok((await client.clientList()).some((entry) => entry.id === id && entry.name === "later"));
      await assert.rejects(client.sendCommand(["NONSENSE"]), /understood are/);
      await assert.rejects(client.sendCommand(["ECHO"]), /wrong number of arguments/);
      assert.equal(await client.ping(), "PONG");
    }],
    [say("subscriptions and patterns"), async (defer) => {
      const client = await connect(defer);
      const listener = await connect(defer);
      const got = [];
      await listener.subscribe(`${at}-news`, (message, channel) => got.push(["plain", channel, message]));
      await listener.pSubscribe(`${at}-n*`, (message, channel) => got.push(["pattern", channel, message]));
      assert.equal(await client.publish(`${at}-news`, "hello"), 2);
      await until("both messages", () => got.length === 2);
      assert.deepEqual(got.sort(), [["pattern", `${at}-news`, "hello"], ["plain", `${at}-news`, "hello"]]);
      await listener.unsubscribe(`${at}-news`);
      await listener.pUnsubscribe(`${at}-n*`);
      assert.equal(await client.publish(`${at}-news`, "hello"), 0);
      // node-redis 5 gives a Buffer to a connection that has had subscriptions.
      assert.equal(String(await listener.ping()), "PONG");
    }],
    [say("identities, presence, direct messages"), async (defer) => {
      const client = await connect(defer);
      const listener = await connect(defer);
      const device = await connect(defer);
      const id = `${at}-dev`;
      const events = [];
      await listener.subscribe(`$presence:${id}`, (message) => events.push(message));
      assert.equal(await device.sendCommand(["IDENT", id, "BEAT", "30"]), "OK");
      assert.equal(await client.sendCommand(["STATE", id]), "online");
      assert.deepEqual(await client.sendCommand(["WHO", `${at}-*`]), [id]);
      assert.equal(await client.sendCommand(["SEND", `${id}-none`, "x"]), 0);
      (device.destroy ?? device.disconnect).call(device);
      await until("the end", () => events.length === 2);
      assert.equal(events[0], "online");
      const [word, ...record] = events[1].split(" ");
      const end = JSON.parse(record.join(" "));
      assert.equal(word, "offline");
      assert.equal(end.class, "peer");
    }],
    [say("reconnects after it was killed, and subscribes again"), async (defer) => {
      const client = await connect(defer, QUICK);
      const victim = await connect(defer, QUICK, { name: "victim" });
      const id = await victim.clientId();
      assert.equal(Number(await client.sendCommand(["CLIENT", "KILL", "ID", String(id)])), 1);
      await sleep(1000);
      await until("a new connection", async () => (await victim.clientId()) !== id);
      assert.equal(await victim.clientGetName(), "victim");

      const listener = await connect(defer, QUICK);
      const got = [];
      await listener.subscribe(`${at}-again`, (message) => got.push(message));
      assert.equal(await client.sendCommand(["CLIENT", "KILL", "TYPE", "PUBSUB"]), 1);
      await sleep(500);
      await until("the subscription", async () => (await client.publish(`${at}-again`, "x")) === 1);
      await until("the message", () => got.length > 0);
    }],
    [say("reconnects after it was idle"), async (defer) => {
      const client = await connect(defer, IDLE);
      const id = await client.clientId();
      await sleep(2500);
      await until("a new connection", async () => (await client.clientId()) !== id);
    }],
    [say("quits"), async (defer) => {
      const client = await connect(defer);
      const begun = Date.now();
      await (client.quit ?? client.close).call(client);
      assert.ok(Date.now() - begun < 2000);
    }],
  ];
}

// ---- ioredis ------------------------------------------------------------------------------------------

function ioredis() {
  const connect = (defer, where = MAIN, more = {}) => {
    const client = new Redis(where, "127.0.0.1", more);
    client.on("error", () => {});
    defer(() => client.disconnect());
    return client;
  };
  return [
    ["ioredis: ping, echo, pipeline", async (defer) => {
      const client = connect(defer);
      assert.equal(await client.ping(), "PONG");
      assert.equal(await client.echo("hello"), "hello");
      const pipeline = client.pipeline();
      for (let i = 0; i < 1000; i += 1) pipeline.echo(String(i));
      const replies = await pipeline.exec();
      assert.ok(replies.every(([error, reply], i) => error === null && reply === String(i)));
      await assert.rejects(client.call("NONSENSE"), /understood are/);
    }],
    ["ioredis: subscriptions and presence", async (defer) => {
      const client = connect(defer);
      const listener = connect(defer);
      const got = [];
      listener.on("pmessage", (pattern, channel, message) => got.push([channel, message.split(" ")[0]]));
      assert.equal(await listener.psubscribe("$presence:io-*"), 1);
      const device = connect(defer);
      assert.equal(await device.call("IDENT", "io-1"), "OK");
      device.disconnect();
      await until("both events", () => got.length === 2);
      assert.deepEqual(got, [["$presence:io-1", "online"], ["$presence:io-1", "offline"]]);
      assert.equal(await client.ping(), "PONG");
    }],
    ["ioredis: reconnects after it was idle", async (defer) => {
      const client = connect(defer, IDLE);
      const id = await client.client("ID");
      await sleep(2500);
      await until("a new connection", async () => (await client.client("ID")) !== id);
    }],
    ["ioredis: users", async (defer) => {
      const client = connect(defer, USERS, { username: "ops", password: PASSWORD });
      assert.equal(await client.acl("WHOAMI"), "ops");
    }],
    ["ioredis: quits", async (defer) => {
      const client = connect(defer);
      assert.equal(await client.quit(), "OK");
    }],
  ];
}

const cases = [
  ...nodeRedis("node-redis 4", redis4, {}),
  ...nodeRedis("node-redis 5", redis5, { RESP: 2 }),
  ...nodeRedis("node-redis 5, RESP3", redis5, { RESP: 3 }),
  ...ioredis(),
];
for (const [name, run] of cases) {
  await test(name, run);
}
console.log(`${passed} passed, ${failed} failed, 0 skipped`);
process.exit(failed > 0 ? 1 : 0);
