/** What the gate of payments costs a relay: its till on a store and a wallet on disk; the node is another process. */
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Chain } from '../contracts/chain/chain.ts'
import { parseAddress } from '../contracts/chain/http.ts'
import { NodeChain } from '../contracts/chain/node.ts'
import { paymentHeaders, type WebPayment } from '../contracts/payment.ts'
import { formatCoinAddress } from '../contracts/transaction/address.ts'
import { makeBeef, type Member } from '../contracts/transaction/beef.ts'
import { p2pkh } from '../contracts/transaction/script.ts'
import { signAll, signerOf } from '../contracts/transaction/sign.ts'
import { finalSequence, parseTransaction, type Txid, txidOf } from '../contracts/transaction/transaction.ts'
import { EmbeddedWallet } from '../contracts/wallet/embedded-wallet.ts'
import { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import { paymentKey } from '../contracts/wallet/own-keys.ts'
import { fromHex, toBase64, toHex } from '../market/bytes.ts'
import { hash160, sha256 } from '../market/hash.ts'
import { Store } from '../relay/store/store.ts'
import { Till } from '../relay/till/till.ts'
import type { Bench, Figure, Part } from './figures.ts'
import { withDevnetProcess, withFolder } from './relay-process.ts'

const payments = { default: 300, full: 2000 } as const
const offers = 20_000
const satoshis = 1000
const coinSatoshis = 10_000
const fee = 50
const concurrent = 8
const pollMs = 200

export const paymentParts: readonly Part[] = [
  { name: 'payments', about: 'payments by 402: the gate', run: takePayments },
]

/** Whose coins pay, and who the payer is to the relay. */
const coinKey = signerOf(sha256('coins of a payer'))
const coinScript = p2pkh(coinKey.publicKey)

function takePayments({ full, note }: Bench): Promise<Figure[]> {
  const count = full ? payments.full : payments.default
  return withFolder((folder) =>
    withDevnetProcess(async (url) => {
      const chain = new NodeChain(parseAddress(url), 'devnet')
      const [keys, payer] = [KeyWallet.random(), KeyWallet.random()]
      const wallet = await EmbeddedWallet.open({
        directory: join(folder, 'coins'),
        keys,
        chain,
        now: Date.now,
      })
      const store = await Store.open({ directory: join(folder, 'store'), now: Date.now })
      const till = await Till.open({
        ...{ store, wallet: () => wallet, keys, now: Date.now, zeroConfLimit: count * satoshis },
        admit: () => undefined,
        log: { warn: () => undefined },
      })
      try {
        note(`${count} coins, and payments with them`)
        const coins = await mined(chain, count)
        const made = await Promise.all(
          coins.map((coin) => payment(coin, { till, payer, relay: keys.identity })),
        )
        const take = (what: string) =>
          timed(count, async (n) => {
            await till.take(payer.identity, made[n]!, { price: satoshis, what: `${what} ${n}` }) // as many as are asked for
          })
        const first = await take('PUT')
        const again = await take('PUT')
        if (till.creditOf(payer.identity).available !== count * satoshis)
          throw new Error('not all is credited')
        const offered = await timed(offers, async () => void till.offer(payer.identity, satoshis))
        return [
          figure(`a payment: verified, sent, credited, ${concurrent} at a time`, first),
          figure('the same payment again', again),
          figure('an offer of a 402', offered),
        ]
      } finally {
        await wallet.close()
        await store.close()
        await chain.close()
      }
    }),
  )
}

/** Coins in blocks, each of a transaction of its own. */
async function mined(chain: Chain, count: number): Promise<Member[]> {
  const address = formatCoinAddress(hash160(coinKey.publicKey), chain.network)
  const txids: Txid[] = []
  while (txids.length < count) txids.push(await chain.faucet!(address, coinSatoshis)) // a devnet has one
  const members: Member[] = []
  for (const txid of txids) {
    let path = await chain.proof(txid)
    for (; path === undefined; path = await chain.proof(txid)) await setTimeout(pollMs)
    members.push({ txid, transaction: parseTransaction((await chain.transaction(txid))!), path }) // it is in a block
  }
  return members
}

async function payment(
  coin: Member,
  { till, payer, relay }: { till: Till; payer: KeyWallet; relay: string },
): Promise<WebPayment> {
  const derivationPrefix = till.offer(payer.identity, satoshis)[paymentHeaders.prefix]! // it is among them
  const names = { derivationPrefix, derivationSuffix: 'c3VmZml4' }
  const { publicKey } = await payer.getPublicKey({ ...paymentKey(names, relay), forSelf: false })
  const vout = coin.transaction.outputs.findIndex(({ script }) => toHex(script) === toHex(coinScript))
  const unsigned = {
    version: 1,
    inputs: [{ txid: coin.txid, vout, script: new Uint8Array(0), sequence: finalSequence }],
    outputs: [
      { satoshis, script: p2pkh(fromHex(publicKey)) },
      { satoshis: coinSatoshis - satoshis - fee, script: coinScript },
    ],
    lockTime: 0,
  }
  const transaction = signAll(unsigned, [{ satoshis: coinSatoshis, script: coinScript }], coinKey)
  const txid = txidOf(transaction)
  const beef = await makeBeef(txid, (wanted) => (wanted === txid ? { txid, transaction } : coin))
  return { ...names, transaction: toBase64(beef) }
}

interface Timed {
  readonly operations: number
  readonly seconds: number
  readonly cpuMs: number
}

const figure = (what: string, { operations, seconds, cpuMs }: Timed): Figure => ({
  what,
  operations,
  opsPerSecond: operations / seconds,
  cpuMicros: (cpuMs * 1000) / operations,
  cpuTotalMs: cpuMs,
})

/** CPU is that of this process alone. */
async function timed(operations: number, act: (n: number) => Promise<void>): Promise<Timed> {
  const [began, before] = [performance.now(), process.cpuUsage()]
  let next = 0
  const lanes = Array.from({ length: concurrent }, async () => {
    while (next < operations) await act(next++)
  })
  await Promise.all(lanes)
  const { user, system } = process.cpuUsage(before)
  return { operations, seconds: (performance.now() - began) / 1000, cpuMs: (user + system) / 1000 }
}
