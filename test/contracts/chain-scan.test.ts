/** Blocks are read once, in bounded steps, from where the last one stopped; forks are noticed; spenders are found. */
import t from 'tap'
import type { Chain, Place } from '../../contracts/chain/chain.ts'
import { scan, scanLimits, type Step, Trail, trailFrom, type Visitor } from '../../contracts/chain/scan.ts'
import { findSpender, type Hit, verifySpender, Watch } from '../../contracts/chain/spender.ts'
import { p2pkhOfHash } from '../../contracts/transaction/script.ts'
import { formatOutpoint } from '../../contracts/transaction/transaction.ts'
import { toHex } from '../../market/bytes.ts'
import { openDevnet, spend } from '../fixtures/chain.ts'
import { ownScript } from '../fixtures/devnet-coins.ts'

/** Scans to the tip; what was found is a list of what the visitor was told. */
async function readAll(chain: Chain, from: Trail, blocks = 7): Promise<{ told: string[]; steps: Step[] }> {
  const told: string[] = []
  const visitor: Visitor = {
    visit: ({ txid, place }) => void told.push(`${place.height} ${txid}`),
    fork: ({ height }) => void told.push(`fork ${height}`),
  }
  const steps: Step[] = []
  for (let trail = from; steps.at(-1)?.isAtTip !== true; trail = steps.at(-1)!.trail)
    steps.push(await scan(chain, trail, visitor, { blocks }))
  return { told, steps }
}

t.test('every transaction is visited once, in its order, however the steps are cut', async (t) => {
  const { chain, node, coin } = await openDevnet(t)
  for (let block = 0; block < 5; block++) {
    await coin()
    await node.mine(1)
  }
  const { height, hash } = node.chain.tip
  const birthday = height - 14
  const start = await trailFrom(chain, birthday)
  const expected = Array.from({ length: 15 }, (_, at) => node.chain.at(birthday + at)!).flatMap(
    ({ height, members }) => members.map(({ txid }) => `${height} ${txid}`),
  )

  for (const blocks of [1, 7, 15, 1000]) {
    const { told, steps } = await readAll(chain, start, blocks)
    t.same(told, expected)
    t.same(steps.at(-1)?.trail[0], { height, hash })
    for (const { trail } of steps) t.same(Trail.parse(JSON.parse(JSON.stringify(trail))), trail)
  }
  t.same((await readAll(chain, await trailFrom(chain, height + 500))).told, [], 'a birthday to come')
  t.equal((await readAll(chain, await trailFrom(chain, height))).told.length, node.chain.tip.members.length)
})

t.test('a fork is told before anything above it, and what follows is visited', async (t) => {
  const { chain, node, coin } = await openDevnet(t)
  const first = await readAll(chain, await trailFrom(chain, node.chain.tip.height - 10))
  const { trail } = first.steps.at(-1)!
  const { height } = node.chain.tip
  const paid = await coin()

  await node.reorganize(3)
  const { told, steps } = await readAll(chain, trail)

  t.equal(told[0], `fork ${height - 3}`)
  t.match(steps[0]?.forkedAt, { height: height - 3 })
  t.same(
    told.slice(1).map((line) => line.split(' ')[0]),
    [height - 2, height - 1, height, height + 1].map(String),
  )
  t.ok(await chain.isUnspent(paid))
  t.same((await readAll(chain, steps.at(-1)!.trail)).told, [], 'nothing is left')
})

t.test('a fork while it is being read is noticed too', async (t) => {
  const { chain, node } = await openDevnet(t)
  const { height } = node.chain.tip
  let forked = false
  const told: number[] = []
  const forks: number[] = []
  const visitor: Visitor = {
    async visit({ place }) {
      told.push(place.height)
      if (place.height !== height - 1 || forked) return
      forked = true
      await node.reorganize(4)
    },
    fork: ({ height }) => void forks.push(height),
  }

  const step = await scan(chain, await trailFrom(chain, height - 8), visitor, { blocks: 100 })

  t.same(forks, [height - 4])
  t.equal(step.isAtTip, true)
  t.equal(step.trail[0]?.hash, node.chain.tip.hash)
  t.same(step.forkedAt?.height, height - 4)
  t.equal(told.lastIndexOf(height + 1), told.length - 1)
})

t.test('a fork below all that a trail has is taken up further down', async (t) => {
  const { chain, node } = await openDevnet(t)
  const { height } = node.chain.tip
  const lost: Place = { height, hash: 'ab'.repeat(32) }

  const forkOf = async (trail: Trail) =>
    (await scan(chain, trail, { visit: () => undefined }, { blocks: 1 })).forkedAt?.height

  t.equal(await forkOf([lost]), Math.max(0, height - scanLimits.lostBlocks))
  t.equal(await forkOf([{ height: height + 5000, hash: 'ab'.repeat(32) }]), height)
})

t.test('a trail stays small, is dense at its head and keeps its beginning', async (t) => {
  const { chain, node } = await openDevnet(t)
  await node.mine(60)
  const { steps } = await readAll(chain, await trailFrom(chain, 1), 40)

  const heights = steps.at(-1)!.trail.map(({ height }) => height)

  const { height } = node.chain.tip
  t.same(
    heights.slice(0, scanLimits.denseTrail),
    Array.from({ length: scanLimits.denseTrail }, (_, at) => height - at),
  )
  t.equal(heights.at(-1), 0)
  t.ok(heights.length < 30)
  for (const [index, at] of heights.slice(scanLimits.denseTrail, -1).entries()) {
    const above = heights[scanLimits.denseTrail + index - 1]!
    t.ok(
      above - at <= Math.max(scanLimits.denseTrail, height - above),
      'gaps no longer than the depth above them',
    )
  }
})

t.test('a place on a real chain fits into a trail that is kept', async (t) => {
  // The same walk as above without blocks: a long chain, of which only places are asked for.
  const hashOf = (height: number) => height.toString(16).padStart(64, '0')
  const previous = (height: number) => Uint8Array.from(Buffer.from(hashOf(height - 1), 'hex')).reverse()
  const body = Buffer.concat([Buffer.alloc(4), Buffer.alloc(32), Buffer.alloc(44), Buffer.of(0)])
  const last = 5000
  const chain = {
    ...{ canScan: true, name: 'a long chain' },
    placeAt: async (height: number) => (height > last ? undefined : { height, hash: hashOf(height) }),
    block: async (height: number) => {
      if (height > last) return undefined
      const bytes = Buffer.from(body)
      bytes.set(previous(height), 4)
      return { height, hash: hashOf(height), bytes }
    },
  } as unknown as Chain

  const { trail } = await scan(chain, await trailFrom(chain, 1), { visit: () => undefined }, { blocks: last })

  t.equal(trail[0]?.height, last)
  t.equal(trail.at(-1)?.height, 0)
  t.ok(Trail.safeParse(trail).success)
  t.ok(trail.length < scanLimits.trail * 0.75, `${trail.length}`)
})

t.test('by what an output was spent: in the mempool, in a block, and after a fork', async (t) => {
  const { chain, node, coin } = await openDevnet(t)
  const paid = await coin()
  await node.mine(2)
  const trail = await trailFrom(chain, node.chain.tip.height - 5)
  const unspent = await findSpender(chain, paid, trail)
  t.equal(unspent.spender, undefined)
  t.ok(unspent.isAtTip)
  const [kept, other] = [spend(paid), spend(paid, { feeRate: 300 })]

  await chain.broadcast(kept.bytes)
  const waiting = await findSpender(chain, paid, unspent.trail)
  t.match(waiting.spender, { txid: kept.txid, input: 0, status: { state: 'mempool' } })
  t.same(waiting.trail, unspent.trail, 'so that it is found again')

  await node.mine(3)
  const mined = await findSpender(chain, paid, waiting.trail)
  t.match(mined.spender, { txid: kept.txid, status: { state: 'mined', depth: 3 } })
  const short = await findSpender(chain, paid, trail, { blocks: 2 })
  t.equal(short.spender, undefined)
  t.notOk(short.isAtTip)
  t.match((await findSpender(chain, paid, short.trail)).spender, { txid: kept.txid }, 'resumed')

  await node.reorganize(3, [other.bytes])
  const forked = await findSpender(chain, paid, mined.trail)
  t.match(forked.spender, { txid: other.txid, status: { state: 'mined', depth: 4 } })
})

t.test('a spender that one is told of is verified by its hash', async (t) => {
  const { chain, node, coin } = await openDevnet(t)
  const paid = await coin()
  const { bytes, txid } = spend(paid)

  t.match(
    await verifySpender(chain, paid, bytes),
    { txid, input: 0, status: { state: 'unknown' } },
    'not sent',
  )
  await chain.broadcast(bytes)
  t.match(await verifySpender(chain, paid, bytes), { status: { state: 'mempool' } })
  await node.mine(2)
  t.match(await verifySpender(chain, paid, bytes), { status: { state: 'mined', depth: 2 } })

  await t.rejects(verifySpender(chain, { ...paid, vout: 9 }, bytes), { code: 'ERR_MALFORMED' })
  await t.rejects(verifySpender(chain, paid, bytes.subarray(1)), { code: 'ERR_MALFORMED' })
  const changed = Uint8Array.from(bytes)
  changed[bytes.length - 1]! ^= 1 // its lock time: another transaction, which nobody knows
  t.match(await verifySpender(chain, paid, changed), { status: { state: 'unknown' } })
})

t.test('outpoints and scripts are watched in blocks and in the mempool, which is read once', async (t) => {
  const { chain, node, coin } = await openDevnet(t)
  const theirs = p2pkhOfHash(new Uint8Array(20).fill(9))
  const paid = await coin()
  const outpoints = new Set([formatOutpoint(paid)])
  const scripts = new Set([toHex(theirs)])
  const hits: Hit[] = []
  const forks: number[] = []
  const watcher = {
    hit: (hit: Hit) => {
      hits.push(hit)
      // Interest may grow while blocks are read.
      if (hit.pays.length > 0) scripts.add(toHex(ownScript))
    },
    fork: ({ height }: Place) => void forks.push(height),
  }
  const watch = new Watch(chain, { outpoints, scripts })
  const spending = spend(paid, { script: theirs })
  await chain.broadcast(spending.bytes)

  const first = await watch.step(await trailFrom(chain, node.chain.tip.height), watcher)
  t.same(
    hits.map(({ txid, spends, pays, place }) => ({ txid, spends, pays, place })),
    [{ txid: spending.txid, spends: [{ txid: paid.txid, vout: paid.vout }], pays: [0], place: undefined }],
  )
  const again = await watch.step(first.trail, watcher)
  t.equal(hits.length, 1, 'what was seen in the mempool is not fetched again')

  await node.mine(1)
  const mined = await watch.step(again.trail, watcher)
  t.equal(
    hits.filter(({ place }) => place !== undefined).length,
    2,
    'in the block, with the coin for the new script',
  )
  await node.reorganize(1)
  await watch.step(mined.trail, watcher)
  t.same(forks, [node.chain.tip.height - 2])
  t.equal(hits.at(-1)?.place, undefined, 'it waits again')

  const few = new Watch(chain, { outpoints, scripts })
  for (let left = 3; left > 0; left--) await coin()
  const before = hits.length
  let step = await few.step(mined.trail, watcher, { mempool: 2 })
  t.notOk(step.isAtTip, 'there is more in the mempool')
  while (!step.isAtTip) step = await few.step(step.trail, watcher, { mempool: 2 })
  t.ok(hits.length >= before + 4)
})
