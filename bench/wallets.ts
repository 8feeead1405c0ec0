/** Paying and being paid on chain: two wallets on disk and a devnet, all in this process, over loopback. */
import { join } from 'node:path'
import { DevnetNode } from '../contracts/chain/devnet/node.ts'
import { serveDevnet } from '../contracts/chain/devnet/server.ts'
import { parseAddress } from '../contracts/chain/http.ts'
import { NodeChain } from '../contracts/chain/node.ts'
import type { Payment } from '../contracts/wallet/actions/payments.ts'
import { EmbeddedWallet } from '../contracts/wallet/embedded-wallet.ts'
import { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import { WalletSync } from '../contracts/wallet/sync/sync.ts'
import { fromHex } from '../market/bytes.ts'
import { p2pkh } from '../contracts/transaction/script.ts'
import type { Bench, Figure, Part } from './figures.ts'
import { withFolder } from './relay-process.ts'

const payments = { default: 300, full: 2000 } as const
const satoshis = 1000
const coinSatoshis = 10_000
const concurrent = 8

export const walletParts: readonly Part[] = [
  { name: 'wallets', about: 'paying and being paid on chain', run: payAndReceive },
]

function payAndReceive({ full, note }: Bench): Promise<Figure[]> {
  const count = full ? payments.full : payments.default
  return withFolder((folder) =>
    withDevnet(async (devnet) => {
      const [alice, bob] = [await openWallet(folder, devnet), await openWallet(folder, devnet)]
      try {
        note(`${count} coins for the one who pays`)
        await fund(alice, devnet, count)
        const { identity } = bob
        const made: Payment[] = []
        const pay = await timed(async () => {
          const lanes = Array.from({ length: concurrent }, async () => {
            for (let n = made.length; made.length < count && n < count; n++)
              made.push(await alice.payTo({ identity, satoshis }))
          })
          await Promise.all(lanes)
        })
        const receive = await timed(async () => {
          for (const { tx, outputIndex, remittance } of made)
            await bob.internalizeAction({
              tx,
              description: 'a payment',
              outputs: [{ outputIndex, protocol: 'wallet payment', paymentRemittance: remittance! }], // to an identity
            })
        })
        const { unconfirmed } = await bob.balance()
        if (unconfirmed !== made.length * satoshis) throw new Error('not every payment arrived')
        return [
          figure(`createAction, signed and sent, ${concurrent} at a time`, made.length, pay),
          figure('internalizeAction, checked and taken by the network', made.length, receive),
        ]
      } finally {
        await alice.close()
        await bob.close()
      }
    }),
  )
}

interface Devnet {
  readonly node: DevnetNode
  readonly chain: NodeChain
}

async function withDevnet<T>(work: (devnet: Devnet) => Promise<T>): Promise<T> {
  const node = await DevnetNode.open({ now: Date.now })
  const server = await serveDevnet({ host: '127.0.0.1', port: 0, node })
  const chain = new NodeChain(parseAddress(server.url), 'devnet')
  try {
    return await work({ node, chain })
  } finally {
    await chain.close()
    await server.close()
    await node.close()
  }
}

function openWallet(folder: string, { chain }: Devnet): Promise<EmbeddedWallet> {
  const keys = KeyWallet.random()
  return EmbeddedWallet.open({ directory: join(folder, keys.identity), keys, chain, now: Date.now })
}

async function fund(wallet: EmbeddedWallet, { node, chain }: Devnet, coins: number): Promise<void> {
  const { publicKey } = await wallet.getPublicKey({
    protocolID: [2, 'relay wallet receive'],
    keyID: '0',
    counterparty: 'self',
  })
  const sync = new WalletSync({ keys: wallet.keys, store: wallet.store, chain, now: Date.now })
  for (let left = coins; left > 0; left--) await node.pay(p2pkh(fromHex(publicKey)), coinSatoshis)
  await node.mine(1)
  for (let isCurrent = false; !isCurrent; ) isCurrent = (await sync.pass()).isCurrent
  const { confirmed } = await wallet.balance()
  if (confirmed !== coins * coinSatoshis) throw new Error(`${confirmed} satoshi arrived`)
}

const figure = (what: string, operations: number, { seconds, cpuMs }: Awaited<ReturnType<typeof timed>>) => ({
  what,
  operations,
  opsPerSecond: operations / seconds,
  cpuMicros: (cpuMs * 1000) / operations,
  cpuTotalMs: cpuMs,
})

/** CPU is that of the whole process: the node and both wallets. */
async function timed(work: () => Promise<unknown>): Promise<{ seconds: number; cpuMs: number }> {
  const [began, before] = [performance.now(), process.cpuUsage()]
  await work()
  const { user, system } = process.cpuUsage(before)
  return { seconds: (performance.now() - began) / 1000, cpuMs: (user + system) / 1000 }
}
