/** Reading the chain for a wallet: what a block costs, and what a transaction costs, over the RPC of a devnet on loopback. */
import { join } from 'node:path'
import { DevnetNode } from '../contracts/chain/devnet/node.ts'
import { serveDevnet } from '../contracts/chain/devnet/server.ts'
import { parseAddress } from '../contracts/chain/http.ts'
import { NodeChain } from '../contracts/chain/node.ts'
import { readBlock } from '../contracts/transaction/block.ts'
import { p2pkh } from '../contracts/transaction/script.ts'
import { signAll, signerOf } from '../contracts/transaction/sign.ts'
import {
  finalSequence,
  type Outpoint,
  type Output,
  serializeTransaction,
  type Transaction,
  txidOf,
} from '../contracts/transaction/transaction.ts'
import { CoinStore } from '../contracts/wallet/coins/store.ts'
import { involvedIn } from '../contracts/wallet/sync/found.ts'
import { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import { WalletSync } from '../contracts/wallet/sync/sync.ts'
import { keyKinds, WatchedKeys } from '../contracts/wallet/sync/watched-keys.ts'
import { sha256 } from '../market/hash.ts'
import type { Bench, Figure, Part } from './figures.ts'
import { withFolder } from './relay-process.ts'

const blocks = { empty: 1000, full: 20 } as const
const transactionsOfBlock = { default: 500, full: 2000 } as const
const watchedKeys = 1000
const fee = 50
const satoshis = 10_000
/** Somebody whose payments are none of ours. */
const stranger = signerOf(sha256('somebody else'))
const script = p2pkh(stranger.publicKey)

export const chainParts: readonly Part[] = [
  { name: 'chain', about: 'reading blocks for what concerns a wallet', run: readChain },
]

function readChain(bench: Bench): Promise<Figure[]> {
  return withFolder((folder) => readInto(folder, bench))
}

async function readInto(folder: string, { full, note }: Bench): Promise<Figure[]> {
  const each = full ? transactionsOfBlock.full : transactionsOfBlock.default
  const node = await DevnetNode.open({ now: Date.now })
  const server = await serveDevnet({ host: '127.0.0.1', port: 0, node })
  const chain = new NodeChain(parseAddress(server.url), 'devnet')
  const keys = KeyWallet.random()
  const store = await CoinStore.open(join(folder, 'coins'), {
    identity: keys.identity,
    network: 'devnet',
    now: Date.now,
  })
  try {
    const sync = new WalletSync({ keys, store, chain, now: Date.now })
    await sync.pass()
    note(`mining ${blocks.empty} empty blocks and ${blocks.full} of ${each} transactions`)
    await node.mine(blocks.empty)
    const empty = await timed(() => follow(sync))
    await mineFull(node, each)
    const heavy = await timed(() => follow(sync))
    const look = await lookAgain(node, { keys, store })
    return [
      { what: 'empty blocks, over RPC', operations: blocks.empty, opsPerSecond: blocks.empty / empty },
      { what: `blocks of ${each} transactions`, operations: blocks.full, opsPerSecond: blocks.full / heavy },
      {
        what: 'their transactions, over RPC',
        operations: blocks.full * each,
        opsPerSecond: (blocks.full * each) / heavy,
      },
      {
        what: `transactions alone, ${3 * watchedKeys} keys in view`,
        operations: look.count,
        opsPerSecond: look.count / look.seconds,
      },
    ]
  } finally {
    await store.close()
    await chain.close()
    await server.close()
    await node.close()
  }
}

async function follow(sync: WalletSync): Promise<void> {
  for (;;) {
    const report = await sync.pass()
    if (report.unavailable !== undefined) throw report.unavailable
    if (report.isCurrent) return
  }
}

/** Every output of one transaction is spent once in every block. */
async function mineFull(node: DevnetNode, each: number): Promise<void> {
  const paid = await node.pay(script, each * satoshis + 100_000)
  const { outputs } = node.mempool.get(paid)!.transaction // just paid
  const vout = outputs.findIndex((output) => Buffer.compare(output.script, script) === 0)
  await node.mine(1)
  const split = spend({ txid: paid, vout, ...outputs[vout]! }, Array(each).fill({ satoshis, script })) // it was paid
  await node.mine(1, { transactions: [serializeTransaction(split)] })
  let coins: Coin[] = split.outputs.map((output, at) => ({ txid: txidOf(split), vout: at, ...output }))
  for (let left = blocks.full; left > 0; left--) {
    const spent = coins.map((coin) => spend(coin, [{ satoshis: coin.satoshis - fee, script }]))
    await node.mine(1, { transactions: spent.map(serializeTransaction) })
    coins = spent.map((transaction) => ({ txid: txidOf(transaction), vout: 0, ...transaction.outputs[0]! }))
  }
}

interface Coin extends Outpoint, Output {}

function spend(coin: Coin, outputs: readonly Output[]): Transaction {
  const input = { txid: coin.txid, vout: coin.vout, script: new Uint8Array(0), sequence: finalSequence }
  const unsigned: Transaction = { version: 1, inputs: [input], outputs, lockTime: 0 }
  return signAll(unsigned, [coin], stranger)
}

/** The same blocks from memory: parsed, hashed, and looked at. */
async function lookAgain(
  node: DevnetNode,
  { keys, store }: { keys: KeyWallet; store: CoinStore },
): Promise<{ count: number; seconds: number }> {
  const watched = new WatchedKeys(keys)
  for (const kind of keyKinds) await watched.watch(kind, watchedKeys)
  const { height } = node.chain.tip
  let count = 0
  const seconds = await timed(async () => {
    for (let at = height - blocks.full + 1; at <= height; at++)
      for (const { transaction } of readBlock(node.chain.at(at)!.bytes).transactions) {
        involvedIn(transaction, { rows: store, keys: watched })
        count++
      }
  })
  return { count, seconds }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now()
  await work()
  return (performance.now() - began) / 1000
}
