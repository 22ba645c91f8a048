import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { ApiError } from "../../src/dinoseg/serving/page/app/errors.js";
import { Outbox } from "../../src/dinoseg/serving/page/app/outbox.js";

/** @param {(letter: any) => Promise<any>} send @param {[string, string][]} stored */
function makePost(send, stored = []) {
  const box = new Map(stored);
  /** @type {{sent: string[], refused: string[], states: string[]}} */
  const log = { sent: [], refused: [], states: [] };
  return {
    send, prefix: "k:", box, log,
    /** @param {any} _answer @param {any} letter */
    onSent: (_answer, letter) => { log.sent.push(letter.stroke.client); },
    /** @param {any} _error @param {any} letter */
    onRefused: (_error, letter) => { log.refused.push(letter.stroke.client); },
    /** @param {string} state */
    onState: (state) => { log.states.push(state); },
    storage: {
      getItem: (/** @type {string} */ key) => box.get(key) ?? null, setItem: (/** @type {string} */ key, /** @type {string} */ value) => { box.set(key, value); },
      removeItem: (/** @type {string} */ key) => { box.delete(key); }, key: (/** @type {number} */ index) => [...box.keys()][index] ?? null, get length() { return box.size; },
    },
  };
}

const letter = (/** @type {string} */ client, image = "a") => ({ image, stroke: { client } });
const settle = () => new Promise((resolve) => setImmediate(resolve));

test("strokes go one after another, in order, and are saved only when the server answered", async () => {
  /** @type {(() => void)[]} */
  const answers = [];
  const post = makePost(() => new Promise((resolve) => answers.push(() => resolve({}))));
  const outbox = new Outbox(post);
  outbox.add(letter("1"));
  outbox.add(letter("2"));
  await settle();
  assert.equal(answers.length, 1);
  assert.equal(post.log.states.at(-1), "saving");
  answers[0]();
  await settle();
  answers[1]();
  await settle();
  assert.deepEqual(post.log.sent, ["1", "2"]);
  assert.equal(post.log.states.at(-1), "saved");
  assert.equal(post.box.size, 0);
});

test("a stroke that does not arrive is kept, and sent again under its name", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  let away = true;
  /** @type {string[]} */
  const tried = [];
  const post = makePost(async (item) => {
    tried.push(item.stroke.client);
    if (away) throw new ApiError("no answer");
  });
  const outbox = new Outbox(post);
  outbox.add(letter("1"));
  await settle();
  assert.equal(post.log.states.at(-1), "waiting");
  assert.match(post.box.get("k:1") ?? "", /"1"/);
  away = false;
  mock.timers.tick(1000);
  await settle();
  mock.timers.reset();
  assert.deepEqual(tried, ["1", "1"]);
  assert.deepEqual(post.log.sent, ["1"]);
  assert.equal(post.log.states.at(-1), "saved");
});

test("what lay in the storage when the page was closed is sent by the next one", async () => {
  const stored = (/** @type {string} */ client, /** @type {number} */ at) => /** @type {[string, string]} */ ([`k:${client}`, JSON.stringify({ ...letter(client), at })]);
  const post = makePost(async () => ({}), [stored("later", 2), ["theme", "dark"], stored("first", 1), ["k:broken", "{"]]);
  await new Outbox(post).run();
  assert.deepEqual(post.log.sent, ["first", "later"]);
  assert.deepEqual([...post.box.keys()], ["theme", "k:broken"]);
});

test("two tabs do not lose each other's strokes", async () => {
  const box = makePost(() => Promise.reject(new ApiError("no answer")));
  const [one, other] = [new Outbox(box), new Outbox(box)];
  one.add(letter("1"));
  other.add(letter("2"));
  await settle();
  clearTimeout(one.timer);
  clearTimeout(other.timer);
  assert.deepEqual([...box.box.keys()], ["k:1", "k:2"]);
});

test("a stroke that the server refuses for good does not hold up the others", async () => {
  const post = makePost(async (item) => {
    if (item.stroke.client === "bad") throw new ApiError("no such class", { status: 422 });
  });
  const outbox = new Outbox(post);
  outbox.add(letter("bad"));
  outbox.add(letter("good"));
  await settle();
  await settle();
  assert.deepEqual([post.log.refused, post.log.sent], [["bad"], ["good"]]);
});

test("undo takes back what has not left yet, but not what is on its way", async () => {
  const post = makePost(() => new Promise(() => {}));
  const outbox = new Outbox(post);
  outbox.add(letter("1"));
  outbox.add(letter("2", "b"));
  outbox.add(letter("3"));
  assert.equal(outbox.takeBack("a")?.stroke.client, "3");
  assert.equal(outbox.takeBack("a"), null);
  assert.deepEqual(outbox.of("b").map((item) => item.stroke.client), ["2"]);
});
