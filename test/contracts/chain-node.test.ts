/** Every method of the port, on a devnet over HTTP. */
import t from 'tap'
import { leastFeeRate } from '../../contracts/chain/chain.ts'
import { readBlock } from '../../contracts/transaction/block.ts'
import { makePath, pathId, rootOf } from '../../contracts/transaction/merkle-path.ts'
import { p2pkhOfHash } from '../../contracts/transaction/script.ts'
import { parseTransaction, serializeTransaction, txidOf } from '../../contracts/transaction/transaction.ts'
import { openDevnet, spend } from '../fixtures/chain.ts'

const unknown = 'ab'.repeat(32)

t.test('the tip is what the chain says of itself, and each place is below it', async (t) => {
  const { chain, node } = await openDevnet(t)
  const { height, hash, medianTime } = node.chain.tip

  t.same(await chain.tip(), { height, hash, medianTime })
  t.equal(await chain.currentHeight(), height)
  t.same(await chain.placeAt(height), { height, hash })
  t.equal(await chain.placeAt(height + 1), undefined)
  t.equal(chain.network, 'devnet')
  t.match(chain.name, /worthless/)
  t.notMatch(chain.name, /pass/)
})

t.test(
  'a transaction is unknown, in the mempool, mined ever deeper; its bytes and its proof follow',
  async (t) => {
    const { chain, node, coin } = await openDevnet(t)
    const { bytes, txid } = spend(await coin())
    t.same(await chain.status(txid), { state: 'unknown' })
    t.equal(await chain.transaction(txid), undefined)
    t.equal(await chain.proof(txid), undefined)

    t.equal(await chain.broadcast(bytes), txid)

    t.same(await chain.status(txid), { state: 'mempool' })
    t.same(await chain.transaction(txid), Buffer.from(bytes))
    t.equal(await chain.proof(txid), undefined)
    t.ok((await chain.mempool()).includes(txid))
    const [hash] = await node.mine(1)
    const { height } = node.chain.tip
    t.same(await chain.status(txid), { state: 'mined', depth: 1, height, hash })
    t.same(await chain.mempool(), [])
    await node.mine(2)
    t.same(await chain.status(txid), { state: 'mined', depth: 3, height, hash })

    const path = await chain.proof(txid)
    const { root } = rootOf(path!, txid)
    t.equal(path?.height, height)
    t.ok(await chain.isValidRootForHeight(root, height))
    t.notOk(await chain.isValidRootForHeight(root, height + 1))
    t.notOk(await chain.isValidRootForHeight(root, height + 100), 'above the tip')
    t.notOk(await chain.isValidRootForHeight(root, -1))
    t.notOk(await chain.isValidRootForHeight(root, 0.5))
  },
)

t.test('a root is of the best chain, however deep it was replaced', async (t) => {
  const { chain, node } = await openDevnet(t)
  const depth = 100
  const { height } = node.chain.tip
  const heights = [height - depth + 1, height - depth / 2, height]
  const rootAt = (at: number) => readBlock(node.chain.at(at)!.bytes).header.root
  const before = heights.map(rootAt)
  for (const [index, at] of heights.entries()) t.ok(await chain.isValidRootForHeight(before[index]!, at))

  await node.reorganize(depth)

  for (const [index, at] of heights.entries()) {
    t.notOk(await chain.isValidRootForHeight(before[index]!, at), `${height - at} below the tip of before`)
    t.ok(await chain.isValidRootForHeight(rootAt(at), at))
  }
})

t.test('paths of every place in blocks of every small size are those of the blocks', async (t) => {
  const { chain, node, coin } = await openDevnet(t)
  for (let size = 1; size <= 6; size++) {
    for (let left = size - 1; left > 0; left--) await coin()
    await node.mine(1)
    const { height } = node.chain.tip
    const block = await chain.block(height)
    const txids = [...readBlock(block!.bytes).transactions].map(({ txid }) => txid)
    t.ok(txids.length >= size)
    for (const [index, txid] of txids.entries())
      t.equal(pathId((await chain.proof(txid))!), pathId(makePath(height, txids, index)))
  }
})

t.test('a block has the bytes of its hash; there is none above the tip', async (t) => {
  const { chain, node } = await openDevnet(t)
  const { height, hash } = node.chain.tip

  const block = await chain.block(height)

  t.same({ height: block?.height, hash: block?.hash }, { height, hash })
  t.same(block?.bytes, Buffer.from(node.chain.tip.bytes))
  t.equal(await chain.block(height + 1), undefined)
  t.equal((await chain.block(0))?.height, 0)
})

t.test(
  'an output is unspent until a block or the mempool spends it, and never was when nobody made it',
  async (t) => {
    const { chain, node, coin } = await openDevnet(t)
    const paid = await coin()
    t.ok(await chain.isUnspent(paid), 'in the mempool')
    await node.mine(1)
    t.ok(await chain.isUnspent(paid), 'mined')
    t.notOk(await chain.isUnspent({ ...paid, vout: 7 }))
    t.notOk(await chain.isUnspent({ txid: unknown, vout: 0 }))

    await chain.broadcast(spend(paid).bytes)

    t.notOk(await chain.isUnspent(paid), 'spent in the mempool')
    await node.mine(1)
    t.notOk(await chain.isUnspent(paid), 'spent in a block')
  },
)

t.test(
  'a broadcast is harmless to repeat, in the mempool, in a block, and when all of it is spent',
  async (t) => {
    const { chain, node, coin } = await openDevnet(t)
    const { bytes, txid, change } = spend(await coin())

    t.equal(await chain.broadcast(bytes), txid)
    t.equal(await chain.broadcast(bytes), txid, 'in the mempool')
    await node.mine(1)
    t.equal(await chain.broadcast(bytes), txid, 'in a block')
    await chain.broadcast(spend(change).bytes)
    await node.mine(1)
    t.equal(await chain.broadcast(bytes), txid, 'in a block, with no output left')
  },
)

t.test('what the network will not take is refused with its reason', async (t) => {
  const { chain, node, coin } = await openDevnet(t)
  const paid = await coin()
  const [first, second, cheap] = [
    spend(paid),
    spend(paid, { feeRate: 200 }),
    spend(await coin(), { feeRate: 20 }),
  ]
  const orphan = spend(spend(await coin()).change)
  const { version, inputs, outputs } = parseTransaction(spend(await coin()).bytes)
  const forged = serializeTransaction({
    version,
    inputs,
    outputs: [{ ...outputs[0]!, satoshis: 1000 }],
    lockTime: 0,
  })
  await chain.broadcast(first.bytes)

  const cases = [
    { bytes: second.bytes, refusal: 'conflict', reason: /txn-mempool-conflict/ },
    { bytes: cheap.bytes, refusal: 'fee', reason: /fee/ },
    { bytes: orphan.bytes, refusal: 'missing-inputs', reason: /missing inputs/i },
    { bytes: forged, refusal: 'invalid', reason: /^16: / },
  ]
  for (const { bytes, refusal, reason } of cases)
    await t.rejects(chain.broadcast(bytes), {
      code: 'ERR_TRANSACTION_REFUSED',
      extras: { refusal, reason },
    })
  await node.mine(1)
  const spentInBlock = { code: 'ERR_TRANSACTION_REFUSED', extras: { refusal: 'missing-inputs' } }
  await t.rejects(chain.broadcast(second.bytes), spentInBlock, 'spent by a block')
  await t.rejects(chain.broadcast(Uint8Array.of(1, 2, 3)), { code: 'ERR_MALFORMED' })
  t.same(await chain.status(txidOf(forged)), { state: 'unknown' })
})

t.test('a transaction that is still locked is refused before a node can park it', async (t) => {
  const { chain, node, coin, call } = await openDevnet(t)
  const { height, medianTime } = await chain.tip()
  const paid = await coin()
  const sequence = 0
  const late = { code: 'ERR_TRANSACTION_REFUSED', extras: { refusal: 'non-final' } }

  await t.rejects(chain.broadcast(spend(paid, { lockTime: height + 1, sequence }).bytes), late)
  await t.rejects(chain.broadcast(spend(paid, { lockTime: medianTime, sequence }).bytes), late)
  t.ok(await chain.broadcast(spend(paid, { lockTime: height, sequence }).bytes), 'open with the next block')
  t.ok(await chain.broadcast(spend(await coin(), { lockTime: medianTime - 1, sequence }).bytes))
  t.ok(
    await chain.broadcast(spend(await coin(), { lockTime: medianTime + 9999 }).bytes),
    'final by its sequence',
  )
  const opens = spend(await coin(), { lockTime: medianTime + 1, sequence })
  await call('devnet.settime', medianTime + 100_000)
  await node.mine(12)
  t.equal(await chain.broadcast(opens.bytes), opens.txid, 'once the median time is past it')
})

t.test('the fee is never below the minimum', async (t) => {
  const { chain } = await openDevnet(t)

  t.equal(await chain.feeRate(), leastFeeRate)
})

t.test('after a fork of three blocks status, proof and roots are those of the new chain', async (t) => {
  const { chain, node, coin } = await openDevnet(t)
  const paid = await coin()
  await node.mine(1)
  const kept = spend(paid)
  const lost = spend(await coin(), { script: p2pkhOfHash(new Uint8Array(20)) })
  await chain.broadcast(kept.bytes)
  await chain.broadcast(lost.bytes)
  await node.mine(3)
  const { height } = node.chain.tip
  const places = [height - 2, height - 1, height]
  const roots = await Promise.all(places.map(async (at) => rootsOf(await chain.block(at))))
  for (const [index, at] of places.entries()) t.ok(await chain.isValidRootForHeight(roots[index]!, at))
  const path = await chain.proof(kept.txid)
  const other = spend(paid, { feeRate: 300 })

  await node.reorganize(3, [other.bytes])

  t.equal((await chain.tip()).height, height + 1)
  t.same(await chain.status(kept.txid), { state: 'unknown' }, 'double-spent by the new chain')
  t.equal(await chain.proof(kept.txid), undefined)
  t.match(await chain.status(other.txid), { state: 'mined', depth: 4, height: height - 2 })
  t.match(await chain.status(lost.txid), { state: 'mempool' }, 'waits again')
  t.notOk(await chain.isValidRootForHeight(rootOf(path!, kept.txid).root, path!.height))
  for (const [index, at] of places.entries()) t.notOk(await chain.isValidRootForHeight(roots[index]!, at))
  t.ok(
    await chain.isValidRootForHeight(rootOf((await chain.proof(other.txid))!, other.txid).root, height - 2),
  )
  await t.rejects(chain.broadcast(kept.bytes), { code: 'ERR_TRANSACTION_REFUSED' })
  t.notOk(await chain.isUnspent(paid))
})

const rootsOf = (block: { bytes: Uint8Array } | undefined): string => readBlock(block!.bytes).header.root

t.test('many questions at once are answered, a few at a time', async (t) => {
  const { chain, node } = await openDevnet(t)
  const { height } = node.chain.tip

  const blocks = await Promise.all(Array.from({ length: 100 }, (_, at) => chain.block(height - at)))

  t.same(
    blocks.map((block) => block?.height),
    Array.from({ length: 100 }, (_, at) => height - at),
  )
})
