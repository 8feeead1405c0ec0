/** docs/protocol.md §4: what was answered is durable, and places never go back, however a relay ends. */
import assert from 'node:assert/strict'
import t from 'tap'
import type { Sealed } from '../../market/envelope.ts'
import { type Item, Acknowledged, listAll, makeItems, placeOf, sealRead } from '../fixtures/acknowledged.ts'
import { type RelayProcess, spawnRelay } from '../fixtures/relay.ts'
import { sendAll, sendBatch, type Told } from '../fixtures/storm.ts'

t.setTimeout(280_000)

/** Sends everything at once and kills the relay as soon as it has given `answers` answers. */
async function killAfter(
  relay: RelayProcess,
  answers: number,
  messages: Sealed[],
  told: Told,
): Promise<void> {
  let answered = 0
  let killed: Promise<unknown> | undefined
  await sendAll(relay.url, messages, (message, reply) => {
    told(message, reply)
    answered += 1
    if (answered === answers) killed = relay.kill('SIGKILL')
  })
  assert.ok(killed, `the relay gave ${answers} answers`)
  await killed
}

/** Every message of a batch with its reply. */
async function replies(relay: RelayProcess, messages: readonly Sealed[]): Promise<any[]> {
  const found: any[] = []
  await sendBatch(relay.url, messages, (_, reply) => found.push(reply))
  return found
}

/** A receiver who asks for what is new, again and again, from the cursor of the last answer. */
class Follower {
  readonly seen: string[] = []
  #cursor: string | undefined
  readonly #receiver: Item['receiver']

  constructor(receiver: Item['receiver']) {
    this.#receiver = receiver
  }

  async ask(relay: RelayProcess): Promise<void> {
    const from = this.#cursor === undefined ? {} : { cursor: this.#cursor }
    const { entries, cursor } = await listAll(relay, this.#receiver, { limit: 100, ...from })
    assert.ok(placeOf(cursor) >= placeOf(this.#cursor ?? 'x.0'), 'a cursor does not go back')
    this.#cursor = cursor
    this.seen.push(...entries.map(({ path }) => path))
  }

  /** Until the relay is gone. */
  async follow(relay: RelayProcess): Promise<void> {
    while (relay.child.exitCode === null && relay.child.signalCode === null) {
      await this.ask(relay).catch((error: unknown) => {
        if (error instanceof assert.AssertionError) throw error
      })
    }
  }
}

t.test(
  'kill -9 in the middle of 1000 concurrent writes loses none that was answered, five times',
  async (t) => {
    const data = t.testdir()
    const ledger = new Acknowledged()
    let relay = await spawnRelay(data)
    t.teardown(() => relay.kill('SIGKILL'))
    let follower: Follower | undefined
    let answeredReads = 0
    let unanswered = 0

    for (const answers of [1, 60, 150, 300, 600]) {
      const items = await makeItems(relay, 1000)
      const twice = await makeItems(relay, 20, { maxPulls: 2 })
      const byHash = new Map([...items, ...twice].map((item) => [item.sealed.hash, item]))
      const reads = await Promise.all(twice.map((item) => sealRead(relay, item)))
      const written = await replies(
        relay,
        twice.map(({ sealed }) => sealed),
      )
      t.equal(written.filter(({ result }) => result === true).length, twice.length)
      follower ??= new Follower(items[0]!.receiver)
      ledger.sent([...items, ...twice])

      const acknowledged: Item[] = []
      const following = follower.follow(relay)
      await killAfter(relay, answers, [...reads, ...items.map(({ sealed }) => sealed)], (message, reply) => {
        const item = byHash.get(message.hash)
        if (item === undefined) answeredReads += reply.record === undefined ? 0 : 1
        else if (ledger.wrote(item, reply)) acknowledged.push(item)
      })
      await following
      unanswered += items.length - acknowledged.length
      relay = await spawnRelay(data)

      t.equal(
        await ledger.check(relay),
        ledger.held.length,
        `killed after ${answers}: all it answered is there`,
      )
      await follower.ask(relay)
      await ledger.writeAgain(relay, acknowledged)
      t.pass(`${acknowledged.length} identical writes got their original receipts`)
      // Whether its first answer arrived or not: the same read is the same pull, and the second pull is left.
      const expected = twice.map(({ sealed }) => sealed.text)
      const texts = (answers: any[]) => answers.map(({ record }) => JSON.stringify(record))
      const others = () => Promise.all(twice.map((item) => sealRead(relay, item)))
      t.same(texts(await replies(relay, reads)), expected, 'a repeated read gets the record again')
      t.same(texts(await replies(relay, await others())), expected, 'and was not counted')
      const third = await replies(relay, await others())
      t.ok(
        third.every(({ result }) => result === null),
        'and the pulls end where the owner said',
      )
    }

    t.ok(unanswered > 0, `${unanswered} of 5000 writes were not answered when the relay was killed`)
    t.ok(answeredReads > 0, `${answeredReads} reads were answered before a kill`)
    const { entries } = await listAll(relay, ledger.held[0]!.receiver)
    const seen = new Set(follower!.seen)
    t.equal(seen.size, follower!.seen.length, 'a receiver who resumes from cursors sees nothing twice')
    const inOrder = entries.map(({ path }) => path).filter((path) => seen.has(path))
    t.equal(inOrder.length, entries.length, 'and misses nothing that is listed')
  },
)

t.test('kill -9 during concurrent reads never serves a record to more than maxPulls reads', async (t) => {
  const data = t.testdir()
  let relay = await spawnRelay(data)
  t.teardown(() => relay.kill('SIGKILL'))
  const items = await makeItems(relay, 200, { maxPulls: 1 })
  const written = await replies(
    relay,
    items.map(({ sealed }) => sealed),
  )
  t.equal(written.filter(({ result }) => result === true).length, items.length)
  const servedTo = new Map(items.map((item) => [item, new Set<string>()]))
  const itemOf = new Map<string, Item>()
  const reads: Sealed[] = []
  // Four reads of each record, far enough apart to travel on different connections.
  for (const item of [...items, ...items, ...items, ...items]) {
    const read = await sealRead(relay, item)
    itemOf.set(read.hash, item)
    reads.push(read)
  }
  const note: Told = ({ hash }, reply) => {
    if (reply.record !== undefined) servedTo.get(itemOf.get(hash)!)!.add(hash)
  }

  await killAfter(relay, 30, reads, note)
  const before = [...servedTo.values()].filter(({ size }) => size > 0).length
  relay = await spawnRelay(data)
  await sendAll(relay.url, reads, note)

  t.ok(before > 0, `${before} of ${items.length} were served before the kill`)
  const readers = [...servedTo.values()].map(({ size }) => size)
  t.same(new Set(readers), new Set([1]), 'in the end, exactly one distinct read of each was served')
})
