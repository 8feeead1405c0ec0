/** Contracts at a relay: what opening one takes, and what its payments cost, each checked and on two disks before it is answered. */
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { feeFor } from '../contracts/chain/chain.ts'
import { parseAddress } from '../contracts/chain/http.ts'
import { NodeChain } from '../contracts/chain/node.ts'
import { feeShare } from '../contracts/escrow/transactions.ts'
import { control } from '../relay/operator/control.ts'
import {
  ask,
  type Opened,
  open,
  payments,
  prepare,
  prices,
  type Ready,
  rpc,
  stake,
} from './contract-clients.ts'
import { type Bench, type Figure, type Part, percentile } from './figures.ts'
import { HttpConnection } from './http.ts'
import { against, figureOf, load } from './load.ts'
import { type RelayProcess, withDevnetProcess, withFolder, withRelay } from './relay-process.ts'

/** A relay takes 32 payments of a contract at once: so many contracts are paid side by side. */
const [contracts, paymentsOfEach] = [64, 30]
const concurrency = 24
const relayCoins = 2_000_000
const [pollMs, mostPolls] = [500, 120]
/** A stake transaction: one coin in, the stake and the change. */
const stakeBytes = 226
/** 2000 payments a second on one core. */
const targets = { openingMs: 1000, paymentMicros: 500 } as const

function measure(bench: Bench): Promise<Figure[]> {
  return withFolder((data) =>
    withDevnetProcess(async (url) => {
      const sells = Object.entries(prices).flatMap(([name, price]) => ['--price', `${name}=${price}`])
      const pool = [`poolSize=${contracts}`, 'openFee=0', `openingsPerAddress=${contracts}`]
      const offers = pool.flatMap((word) => ['--contract', word])
      const args = ['--chain', `devnet:${url}`, ...sells, ...offers]
      return withRelay(bench, { data, args }, async (relay) => {
        await control(join(data, 'control.json'), 'wallet-faucet', { satoshis: relayCoins })
        const chain = new NodeChain(parseAddress(url), 'devnet')
        try {
          return await figures(bench, relay, { chain, url })
        } finally {
          await chain.close()
        }
      })
    }),
  )
}

async function figures(
  bench: Bench,
  relay: RelayProcess,
  devnet: { readonly chain: NodeChain; readonly url: string },
): Promise<Figure[]> {
  bench.note(`${contracts} stakes`)
  const staked = await Promise.all(Array.from({ length: contracts }, () => stake(relay, devnet)))
  await rpc(devnet.url, 'generate', 1)
  const ready = await Promise.all(staked.map((one) => prepare(one, devnet.chain)))
  const latenciesMs = new Float64Array(contracts)
  const opened: Opened[] = []
  const connection = await HttpConnection.open(relay.url)
  bench.note('opening them')
  await untilStakesLie(connection, relay, ready[0]!)
  const cpu = relay.cpuMicros()
  for (const [index, one] of ready.entries()) {
    const began = performance.now()
    opened.push(await open(connection, relay, one))
    latenciesMs[index] = performance.now() - began
  }
  const cpuMicros = (relay.cpuMicros() - cpu) / contracts
  connection.close()
  const [p50Ms, p99Ms] = [percentile(latenciesMs, 0.5), percentile(latenciesMs, 0.99)]
  bench.note('paying')
  const messages = await payments(relay, opened, paymentsOfEach)
  const done = await load(relay, messages, concurrency)
  for (const { body } of done.answers)
    if (!body.includes('"type":"ContractPaid"')) throw new Error(`a payment was refused: ${body}`)
  const payment = figureOf('payment: checked, on two disks, answered', done)
  const { terms } = opened[0]!.contract
  const fees = {
    client: feeFor(stakeBytes, terms.feeRate) + feeShare(opened[0]!.contract, 'client', 1) + terms.closeFee,
    relay: feeShare(opened[0]!.contract, 'server', 1),
  }
  const bytes = (what: string, amount: number): Figure => ({ what, value: { amount, unit: 'bytes' } })
  return [
    {
      ...{ what: 'opening, both requests and the devnet', operations: contracts, cpuMicros, p50Ms, p99Ms },
      target: { text: `< ${targets.openingMs} ms`, met: p99Ms < targets.openingMs },
    },
    against(payment, { micros: targets.paymentMicros }),
    bytes('opening, on the wire without the relay’s answers', opened[0]!.bytes),
    bytes('payment, on the wire', Buffer.byteLength(messages[0]!.text)),
    bytes('its answer', done.answers[0]!.body.length),
    { what: 'fees of a contract’s life: the client', value: { amount: fees.client, unit: 'sat' } },
    { what: 'the relay, its stake transaction shared', value: { amount: fees.relay, unit: 'sat' } },
  ]
}

/** The relay looks at its coins every ten seconds. */
async function untilStakesLie(connection: HttpConnection, relay: RelayProcess, one: Ready): Promise<void> {
  for (let left = mostPolls; left > 0; left--) {
    const { reply } = await ask(connection, relay, one, one.open)
    if (reply.result !== undefined) return
    if (left === 1) throw new Error(JSON.stringify(reply))
    await setTimeout(pollMs)
  }
}

export const contractParts: readonly Part[] = [
  { name: 'contracts', about: 'escrow contracts: opened, and paid for as they are used', run: measure },
]
