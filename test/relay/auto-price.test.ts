/** Prices that follow the load of a relay: decided in time, explained, durable, and below a person's word. */
import { join } from 'node:path'
import t from 'tap'
import { dayMs } from '../../market/units.ts'
import { readConfig } from '../../relay/config.ts'
import { Capacity } from '../../relay/market/capacity.ts'
import { marked, servedInDay } from '../../relay/market/load.ts'
import { PriceRule } from '../../relay/market/price-rule.ts'
import { holdRule, type Mark } from '../../relay/market/rule-row.ts'
import type { Io } from '../../relay/operator/command.ts'
import { commands } from '../../relay/operator/commands.ts'
import { Pricing } from '../../relay/pricing.ts'
import { clock, makeRead, makeRecord, openStore, pathOf, termsOf } from '../fixtures/records.ts'
import { openRelay, startTestRelay } from '../fixtures/relay.ts'
import { actor, askSigned, postSigned, sealRecord } from '../fixtures/wire.ts'

const minute = 60_000
const hour = 60 * minute
const auto = (...words: string[]) =>
  ['diskCost=3000000000', 'bandwidth=1', 'every=60', ...words].flatMap((word) => ['--auto-price', word])

/** A rule over a real store, whose clock and connections the test moves. */
async function ruled(t: Parameters<typeof openStore>[0], directory: string, now = clock()) {
  const { autoPrice: parameters } = readConfig(['--data', directory, ...auto()], {})
  const store = await openStore(t, { directory, now })
  const pricing = await Pricing.open(store, { open: false })
  const connections = { count: 0 }
  const parts = { store, pricing, now, parameters: parameters!, connectionLimit: 1000 }
  const capacity = new Capacity(store, 20_000_000)
  const rule = await PriceRule.open({ ...parts, capacity, connections: () => connections.count })
  const write = async (bytes: number) => {
    const record = await makeRecord({ content: Buffer.alloc(bytes), timestamp: now.ms, ttl: 90 * 86_400 })
    await store.write(record, termsOf(record))
    return record
  }
  return { store, pricing, rule, now, connections, write }
}

t.test('it decides when it is time, goes step by step, and remembers over a restart', async (t) => {
  const directory = t.testdir()
  const { store, pricing, rule, now, write } = await ruled(t, directory)
  t.match(rule.explain(), { state: 'on', decisions: null, nextAt: now() })
  t.ok(await rule.look())
  const first = pricing.next(now())?.prices ?? pricing.at(now())
  t.match(rule.explain().decisions, {
    storageGBDay: { bound: 'opening', load: 0, after: first.storageGBDay },
  })
  t.notOk(await rule.look(), 'not again at once')

  now.ms += 59 * minute
  await write(18_000_000)
  t.notOk(await rule.look())
  t.match(rule.explain(), {
    load: { storedBytes: 18_000_512, capacityBytes: 20_000_000 },
    nextAt: now() + minute,
  })
  now.ms += minute
  t.ok(await rule.look())
  const step = Math.floor(first.storageGBDay / 20)
  t.equal(pricing.at(now()).storageGBDay, first.storageGBDay, 'a rise has its notice')
  t.match(pricing.next(now()), { prices: { storageGBDay: first.storageGBDay + step, ingressGB: 0 } })
  const { decisions } = rule.explain()
  t.match(decisions, { storageGBDay: { scarce: 'disk', load: 900, bound: 'step', drift: { direction: 1 } } })
  await store.close()

  const again = await ruled(t, directory, now)
  t.same(again.rule.explain().decisions, decisions)
  t.notOk(await again.rule.look(), 'a restart is no reason to decide')
  for (let round = 0; round < 60; round++) {
    now.ms += hour
    t.ok(await again.rule.look())
  }
  const settled = again.rule.explain().decisions!.storageGBDay
  t.match(settled, { bound: 'settled', before: settled.after })
  t.ok(Math.abs(settled.wanted - settled.after) <= settled.after / 20)
  now.ms -= 3 * hour
  t.ok(await again.rule.look(), 'a clock that was set back does not stop it')
})

t.test(
  'what a person sets holds, also against a decision under way, until the rule is let on again',
  async (t) => {
    const { store, pricing, rule, now, write } = await ruled(t, t.testdir())
    await rule.look()
    now.ms += hour
    await write(18_000_000)
    const byHand = pricing.set({ storageGBDay: 7 }, (batch) => holdRule(batch, true))
    const [, decided] = await Promise.all([byHand, rule.look()])
    t.notOk(decided)
    t.match(rule.explain(), { state: 'held', nextAt: null, prices: { storageGBDay: 7 } })
    now.ms += dayMs
    t.notOk(await rule.look())
    await store.commit((batch) => holdRule(batch, false))
    t.ok(await rule.look())
    t.match(pricing.next(now()), { prices: { storageGBDay: 8 } }, 'a satoshi is the least step')
    await PriceRule.end(store)
    t.notOk(await store.commit((batch) => holdRule(batch, true)), 'without a rule there is nothing to hold')
  },
)

t.test('what was served in a day is counted by the hour', async (t) => {
  const { rule, now, write, store } = await ruled(t, t.testdir())
  const record = await write(1_000_000)
  await rule.look()
  const read = (nonce: number) => store.read(makeRead(pathOf(record), nonce, now.ms))
  for (let pull = 0; pull < 3; pull++) await read(pull)
  t.equal(rule.explain().load!.servedBytes, 3_001_536, 'as they are billed')
  for (let passed = 0; passed < 23; passed++) {
    now.ms += hour
    await rule.look()
  }
  t.equal(rule.explain().load!.servedBytes, 3_001_536)
  now.ms += 2 * hour
  await rule.look()
  t.equal(rule.explain().load!.servedBytes, 0, 'a day later it is over')

  let marks: readonly Mark[] = []
  for (let at = 0; at <= 100; at++) marks = marked(marks, at * hour, at * 10)
  t.equal(marks.length, 26)
  t.equal(servedInDay(marks, 100 * hour, 1000), 240)
  t.equal(servedInDay(marks, 148 * hour, 1300), 150, 'a part of what it was while nobody looked')
  t.same(marked(marks, hour, 1000), [{ at: hour, served: 1000 }], 'of another clock')
  t.equal(servedInDay([], 5, 9), 0)
})

t.test('a relay tells its operator what was measured, what follows, and when next', async (t) => {
  const relay = await openRelay(t, [...auto(), '--capacity', '20MB'])
  const data = t.testdirName
  const relayd = async (isTerminal: boolean, ...args: string[]) => {
    const lines: string[] = []
    const io: Io = {
      ...{ env: { RELAYD_DATA: data }, isTerminal, signal: new AbortController().signal },
      out: (line) => lines.push(...line.split('\n')),
    }
    await commands.price!.run(io, args)
    return lines
  }
  const json = async (...args: string[]) => JSON.parse((await relayd(false, ...args))[0]!)
  const explained = await json('explain')
  t.match(explained, {
    state: 'on',
    load: { storedBytes: 0, capacityBytes: 20_000_000, connections: 0 },
    parameters: { diskCost: 3_000_000_000, margin: 30 },
    decisions: { storageGBDay: { load: 0, scarcity: 600, bound: 'opening' } },
    nextAt: relay.clock.ms + hour,
  })
  const lines = await relayd(true, 'explain')
  t.match(lines.join('\n'), /0 % of the disk used makes that 60 % of it.*the first price.*decides next at/s)
  t.match(await json('auto', 'off'), { state: 'held', nextAt: null })
  t.match((await relayd(true, 'auto', 'on')).join('\n'), /prices follow the load/)
  t.match(await json('show'), { next: null }, 'a new relay sells at once')
  t.equal((await json('show')).prices.storageGBDay, explained.decisions.storageGBDay.after)
  relay.clock.ms += minute
  t.match(await json('set', 'egressGB=5'), { next: { prices: { egressGB: 5 } } })
  t.match((await relayd(true, 'explain')).join('\n'), /set by hand/)
  for (const words of [['auto'], ['auto', 'maybe'], ['explain', 'it'], ['show', 'it'], ['raise']])
    await t.rejects(json(...words), { code: 'ERR_USAGE' })

  const alice = actor()
  await relay.operator.grant({ key: alice.identity, satoshi: 1_000_000_000 })
  const record = await sealRecord(relay, alice, actor())
  t.match(await postSigned(relay, record), { result: true }, 'and sells at those prices')
  await relay.close()
  t.match(await json('explain'), { state: 'held', load: null }, 'also while it is stopped')
  const quote = { type: 'quote', bytes: 1, ttl: 60, maxPulls: 1 }
  const plain = await startTestRelay(data, { args: ['--price', 'egressGB=5'], now: relay.now })
  t.match(await json('explain'), { state: 'off', decisions: null })
  await t.rejects(json('auto', 'on'), { code: 'ERR_CONFLICT' })
  t.match(await askSigned({ ...plain, now: relay.now }, actor(), quote), { result: {} })
  await plain.close()
})

t.test('what does not fit is refused with what would', async (t) => {
  const given = (...args: string[]) => readConfig(['--data', join(t.testdirName, 'x'), ...args], {})
  t.same(given().autoPrice, undefined)
  t.match(given(...auto('margin=0')), { autoPrice: { margin: 0, target: 70, every: 60 } })
  t.equal(given('--capacity', '3GiB').capacityBytes, 3 * 2 ** 30)
  t.equal(given('--capacity', '1000').capacityBytes, 1000)
  for (const [args, sentence] of [
    [['--auto-price', 'diskCost=5'], /needs bandwidth=NUMBER/],
    [auto('step=0'), /step is out of its range/],
    [auto('steps=1'), /with a name of: diskCost, bandwidth/],
    [auto('storageFloor=5', 'storageCeiling=4'), /above its ceiling/],
    [[...auto(), '--open'], /leave it out to sell/],
    [['--capacity', '5 GB'], /--capacity takes/],
    [['--capacity', '9999999TiB'], /--capacity takes/],
  ] as const)
    t.throws(() => given(...args), { code: 'ERR_USAGE', message: sentence })
})
