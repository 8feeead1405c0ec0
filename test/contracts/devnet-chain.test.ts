/** The chain of a devnet: mining, proofs, reorganisations, and the file that keeps it. */
import { copyFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { concat, fromHex } from '../../market/bytes.ts'
import {
  blockHash,
  hasWork,
  headerBytes,
  readBlock,
  serializeHeader,
} from '../../contracts/transaction/block.ts'
import { type MerklePath, merkleRoot, rootOf } from '../../contracts/transaction/merkle-path.ts'
import { hashOfTxid, txidOf } from '../../contracts/transaction/transaction.ts'
import { faucetScript } from '../../contracts/chain/devnet/faucet.ts'
import { Faults } from '../../contracts/chain/devnet/faults.ts'
import { devnetGenesis, DevnetNode } from '../../contracts/chain/devnet/node.ts'
import { answer } from '../../contracts/chain/devnet/rpc.ts'
import { type Coin, fund, ownScript, spendBytes } from '../fixtures/devnet-coins.ts'

const start = 1_800_000_000
const now = (): number => start * 1000
const rpc = async (node: DevnetNode, method: string, ...params: unknown[]): Promise<any> => {
  const reply = await answer(node, new Faults(), JSON.stringify({ method, params, id: 1 }))
  return (reply as { result: unknown }).result
}
const after = (bytes: Uint8Array, satoshis: number): Coin => ({
  txid: txidOf(bytes),
  vout: 0,
  satoshis,
  script: ownScript,
})

t.test('every devnet begins with the same block, and its faucet has mined coins', async (t) => {
  const node = await DevnetNode.open({ now })
  const coins = [...node.chain.coins.watched.values()].filter((coin) => !coin.isCoinbase)

  t.equal(node.chain.at(0)?.hash, devnetGenesis)
  t.ok(coins.length >= 1000)
  t.ok(coins.every(({ height }) => height > 0 && height <= node.chain.tip.height))
  await t.rejects(node.pay(ownScript, 1e14), { code: -6 })
})

t.test('a faucet that gave all away cuts up more coins', async (t) => {
  const node = await DevnetNode.open({ now })
  await node.mine(10)
  const most = 80e8
  for (const satoshis of [most, most]) await node.pay(ownScript, satoshis)
  await node.mine(1)
  await node.pay(ownScript, most)
  await node.mine(1)
  t.ok([...node.chain.coins.watched.values()].filter((coin) => !coin.isCoinbase).length > 500)
  t.ok(
    [...node.chain.coins.watched.values()].every(({ script }) => Buffer.compare(script, faucetScript) === 0),
  )
})

t.test('blocks have their work, their root, their parent and a later time', async (t) => {
  const node = await DevnetNode.open({ now })
  await fund(node, [ownScript, ownScript])
  await node.mine(30)

  for (let height = 1; height <= node.chain.tip.height; height++) {
    const { bytes, hash, medianTime } = node.chain.at(height)!
    const before = node.chain.at(height - 1)!
    const { header, transactions } = readBlock(bytes)
    const good =
      hasWork(bytes, header.bits) &&
      blockHash(serializeHeader(header)) === hash &&
      header.previous === before.hash &&
      header.time > before.medianTime &&
      medianTime >= before.medianTime &&
      header.root === merkleRoot(Array.from(transactions, ({ txid }) => txid))
    if (!good) t.fail(`block ${height}`)
  }
  t.ok(node.chain.tip.header.time < start + 20, 'and hardly ahead of the clock')
})

/** As a client makes it of the standard form of proofs. */
function pathOf(
  height: number,
  { index, txOrId, nodes }: { index: number; txOrId: string; nodes: string[] },
): MerklePath {
  const levels = nodes.map((node, row) => {
    const sibling = { isTxid: false, ...(node !== '*' && { hash: hashOfTxid(node) }) }
    return new Map([[Math.floor(index / 2 ** row) ^ 1, sibling]])
  })
  const leaves = new Map([...(levels[0] ?? []), [index, { isTxid: true, hash: hashOfTxid(txOrId) }]])
  return { height, levels: [leaves, ...levels.slice(1)] }
}

t.test('a proof leads from any transaction of a block to the root in its header', async (t) => {
  const node = await DevnetNode.open({ now })
  for (const size of [0, 1, 2, 4, 6]) {
    if (size > 0) await fund(node, Array(size).fill(ownScript))
    else await node.mine(1)
    const { header, members, height, hash, bytes } = node.chain.tip
    for (const [index, { txid }] of members.entries()) {
      const proof = await rpc(node, 'getmerkleproof2', '', txid)

      t.match(proof, { index, txOrId: txid, target: hash, targetType: undefined })
      const path = pathOf(height, proof)
      t.same(rootOf(path, txid), { root: header.root, index })
      const { target } = await rpc(node, 'getmerkleproof2', hash, txid, false, 'header')
      t.equal(target, Buffer.from(bytes.subarray(0, headerBytes)).toString('hex'))
      const full = await rpc(node, 'getmerkleproof2', hash, txid, true, 'merkleroot')
      t.equal(txidOf(fromHex(full.txOrId)), txid)
      t.equal(full.target, header.root)
    }
  }
})

t.test('a reorganisation of three blocks gives what they had back to the mempool', async (t) => {
  const node = await DevnetNode.open({ now })
  const [coin, rival] = (await fund(node, [ownScript, ownScript], 100_000)) as [Coin, Coin]
  const { tip: before } = node.chain
  const first = spendBytes([coin])
  const second = spendBytes([after(first, 99_000)])
  const waiting = spendBytes([after(second, 98_000)])
  const lost = spendBytes([rival])
  const lostChild = spendBytes([after(lost, 99_000)])
  for (const bytes of [first, second, lost]) {
    await node.submit(bytes)
    await node.mine(1)
  }
  await node.submit(waiting)
  await node.submit(lostChild)
  const { tip: dropped } = node.chain
  const doubleSpend = spendBytes([rival], { outputs: [{ satoshis: 1, script: ownScript }] })

  const hashes = await node.reorganize(3, [doubleSpend])

  t.equal(hashes.length, 4)
  t.equal(node.chain.tip.height, before.height + 4)
  t.equal(node.chain.at(before.height)?.hash, before.hash)
  t.same(
    [...node.mempool.entries()].map(({ txid }) => txid),
    [first, second, waiting].map(txidOf),
  )
  t.equal(node.chain.placeOf(txidOf(doubleSpend))?.block.hash, hashes[0])
  t.match(await rpc(node, 'getblockheader', dropped.hash), { confirmations: -1, height: dropped.height })
  t.equal(await rpc(node, 'gettxout', txidOf(lost), 0), null)
  t.equal(await rpc(node, 'gettxout', rival.txid, rival.vout), null)
  await node.mine(1)
  t.equal(node.mempool.size, 0)
})

t.test('a reorganisation that no block allows leaves everything as it was', async (t) => {
  const node = await DevnetNode.open({ now })
  const [coin, other] = (await fund(node, [ownScript, ownScript])) as [Coin, Coin]
  await node.mine(2)
  await node.submit(spendBytes([other]))
  const { tip } = node.chain

  await t.rejects(node.reorganize(2, [spendBytes([{ ...coin, satoshis: 1e6 }])]), { code: -26 })
  await t.rejects(node.reorganize(0), { code: -8 })
  await t.rejects(node.reorganize(101), { code: -8 })

  t.equal(node.chain.tip.hash, tip.hash)
  t.equal(node.mempool.size, 1)
})

t.test('what needed the height or the time of a dropped block is lost with it', async (t) => {
  const node = await DevnetNode.open({ now })
  await node.mine(1, { script: ownScript })
  const { txid } = node.chain.tip.members[0]!
  const [coin] = (await fund(node, [ownScript])) as [Coin]
  await node.mine(98)
  const { height } = node.chain.tip
  await node.submit(spendBytes([{ txid, vout: 0, satoshis: 50e8, script: ownScript }]))
  await node.submit(spendBytes([coin], { sequence: 0, lockTime: height }))

  await node.setValidity(node.chain.tip.hash, false)

  t.equal(node.mempool.size, 0)
})

t.test('a block that is invalid takes all behind it along, until it is reconsidered', async (t) => {
  const node = await DevnetNode.open({ now })
  const [coin] = (await fund(node, [ownScript])) as [Coin]
  const { tip: before } = node.chain
  const bytes = spendBytes([coin])
  await node.submit(bytes)
  const [first] = (await node.mine(3)) as [string]
  const { tip: best } = node.chain

  await node.setValidity(first, false)
  t.equal(node.chain.tip.hash, before.hash)
  t.ok(node.mempool.get(txidOf(bytes)))
  await node.mine(1)
  const { tip: other } = node.chain
  await node.setValidity(best.hash, true)
  t.equal(node.chain.tip.hash, best.hash, 'the longer one again')
  await node.setValidity(other.hash, false)
  t.equal(node.chain.tip.hash, best.hash)
  await t.rejects(node.setValidity('0'.repeat(64), false), { code: -5 })
  await t.rejects(node.setValidity(devnetGenesis, false), { code: -25 })
})

/** What a killed process leaves behind, in a directory of its own. */
function copy(from: string, to: string): string {
  mkdirSync(to)
  copyFileSync(join(from, 'devnet.chain'), join(to, 'devnet.chain'))
  return to
}

t.test('a chain in a directory goes on where it was, however its process ended', async (t) => {
  const directory = t.testdir()
  const node = await DevnetNode.open({ now, directory: join(directory, 'a') })
  const [coin, other] = (await fund(node, [ownScript, ownScript], 100_000)) as [Coin, Coin]
  const mined = spendBytes([coin])
  await node.submit(mined)
  await node.mine(2)
  await node.submit(spendBytes([after(mined, 99_000)]))
  await node.reorganize(2, [spendBytes([other])])
  await node.setValidity(node.chain.tip.hash, false)
  await node.mine(2)
  await node.mine(1, { withMempool: false })
  const third = spendBytes([after(spendBytes([other]), 99_000)])
  await node.submit(third)
  const state = ({ chain, mempool }: DevnetNode) => ({
    tip: chain.tip.hash,
    blocks: chain.blockCount,
    coins: chain.coins.size,
    watched: chain.coins.watched.size,
    mempool: [...mempool.entries()].map(({ txid }) => txid),
  })
  const expected = state(node)

  t.same(expected.mempool, [txidOf(third)])
  const killed = await DevnetNode.open({ now, directory: copy(join(directory, 'a'), join(directory, 'b')) })
  t.same(state(killed), expected)
  await node.close()
  const again = await DevnetNode.open({ now, directory: join(directory, 'a') })
  t.same(state(again), expected)
  const [hash] = await again.mine(1)
  t.equal(again.chain.tip.hash, hash)
  t.equal(again.mempool.size, 0)
  await again.close()
  await killed.close()
})

t.test('a record that was cut short is forgotten, and the chain goes on before it', async (t) => {
  const directory = t.testdir()
  const node = await DevnetNode.open({ now, directory: join(directory, 'a') })
  const { tip } = node.chain
  const { length } = readFileSync(join(directory, 'a', 'devnet.chain'))
  await node.mine(1)
  const whole = readFileSync(join(directory, 'a', 'devnet.chain')).length
  await node.close()

  for (const size of [whole - 1, whole - 5, length + 20, length + 8, length + 1, length]) {
    const path = copy(join(directory, 'a'), join(directory, String(size)))
    truncateSync(join(path, 'devnet.chain'), size)
    const short = await DevnetNode.open({ now, directory: path })
    t.equal(short.chain.tip.hash, tip.hash)
    const [hash] = await short.mine(1)
    await short.close()
    const after = await DevnetNode.open({ now, directory: path })
    t.equal(after.chain.tip.hash, hash)
    await after.close()
  }
})

t.test('a start that was interrupted is finished by the next', async (t) => {
  const directory = t.testdir()
  const node = await DevnetNode.open({ now, directory: join(directory, 'a') })
  const { hash } = node.chain.tip
  await node.close()
  for (const size of [0, 3, 5000]) {
    const path = copy(join(directory, 'a'), join(directory, String(size)))
    truncateSync(join(path, 'devnet.chain'), size)
    const again = await DevnetNode.open({ now, directory: path })
    t.equal(again.chain.tip.hash, hash)
    await again.close()
  }
})

t.test('a file that was changed or is something else is not touched', async (t) => {
  const directory = t.testdir()
  const node = await DevnetNode.open({ now, directory: join(directory, 'a') })
  await node.mine(1)
  await node.close()
  const good = readFileSync(join(directory, 'a', 'devnet.chain'))
  const changed = (at: number) => good.map((byte, index) => (index === at ? byte ^ 1 : byte))

  for (const [name, bytes] of Object.entries({
    kind: changed(30),
    length: changed(32),
    block: changed(60),
    end: changed(good.length - 1),
    other: concat(new Uint8Array(100)),
  })) {
    mkdirSync(join(directory, name))
    writeFileSync(join(directory, name, 'devnet.chain'), bytes)
    await t.rejects(
      DevnetNode.open({ now, directory: join(directory, name) }),
      { code: 'ERR_INTERNAL' },
      name,
    )
    t.same(readFileSync(join(directory, name, 'devnet.chain')), Buffer.from(bytes))
  }
})

t.test('one process has a directory at a time; what a dead one left is taken over', async (t) => {
  const directory = t.testdir()
  const node = await DevnetNode.open({ now, directory })

  await t.rejects(DevnetNode.open({ now, directory }), { code: 'ERR_BUSY' })
  await node.close()
  writeFileSync(join(directory, 'devnet.chain.lock'), String(process.ppid))
  await t.rejects(DevnetNode.open({ now, directory }), { code: 'ERR_BUSY' })
  writeFileSync(join(directory, 'devnet.chain.lock'), '4194304')
  await (await DevnetNode.open({ now, directory })).close()
})
