/** The coins of a chapter: a devnet whose blocks and days come when the play wants them, and the account of every satoshi. */
import { startDevnet } from '../../contracts/chain/devnet/local.ts'
import { readBlock } from '../../contracts/transaction/block.ts'
import { parseTransaction, type Transaction } from '../../contracts/transaction/transaction.ts'
import { fromHex } from '../../market/bytes.ts'
import { check, type Line, type Person, type RelayServer, type Stage } from './stage.ts'

/** Asks the devnet what a node would be asked, by JSON-RPC. */
export type Rpc = (method: string, ...params: unknown[]) => Promise<unknown>

export interface Devnet {
  /** As `--chain` takes it. */
  readonly named: string
  readonly rpc: Rpc
  mine(blocks: number): Promise<void>
  /** The clock of the chain, with median time past, to a moment in milliseconds since 1970. */
  passTime(now: number): Promise<void>
}

/** Runs `work` with a devnet of its own. */
export async function withDevnet(work: (devnet: Devnet) => Promise<void>): Promise<void> {
  const { url, close } = await startDevnet({ host: '127.0.0.1', port: 0, now: Date.now })
  const rpc = rpcOf(url)
  const mine = async (blocks: number) => void (await rpc('generate', blocks))
  const passTime = async (now: number) => {
    await rpc('devnet.settime', Math.floor(now / 1000))
    await mine(12)
  }
  try {
    await work({ named: `devnet:${url}`, rpc, mine, passTime })
  } finally {
    await close()
  }
}

export const rpcOf =
  (url: string): Rpc =>
  async (method, ...params) => {
    const body = JSON.stringify({ jsonrpc: '1.0', id: 1, method, params })
    const answer = (await (await fetch(url, { method: 'POST', body })).json()) as {
      error: unknown
      result: unknown
    }
    check(answer.error === null, `the devnet to answer ${method}: ${JSON.stringify(answer.error)}`)
    return answer.result
  }

/** Whose coins are accounted for. */
interface Parties {
  readonly person: Person
  readonly relay: RelayServer
}

interface Start {
  readonly height: number
  readonly person: number
  readonly relay: number
}

/** From now until `tell`: what each has more or less, and what the transactions in between paid to miners or burned. */
export class Account {
  readonly #stage: Stage
  readonly #devnet: Devnet
  readonly #parties: Parties
  readonly #from: Start

  /** Everything that was sent before is to be in a block. */
  static async open(stage: Stage, devnet: Devnet, parties: Parties): Promise<Account> {
    const height = Number(await devnet.rpc('getblockcount'))
    return new Account(stage, devnet, parties, { height, ...(await balances(stage, parties)) })
  }

  private constructor(stage: Stage, devnet: Devnet, parties: Parties, from: Start) {
    this.#stage = stage
    this.#devnet = devnet
    this.#parties = parties
    this.#from = from
  }

  /** Shows the table, whose sum is zero. @param unclaimed the relay's on the chain, not fetched @returns what each has more */
  async tell(unclaimed = 0): Promise<{ person: number; relay: number; fees: number; burned: number }> {
    const { person, relay } = this.#parties
    const now = await balances(this.#stage, this.#parties)
    const { fees, burned, count } = await paidSince(this.#devnet.rpc, this.#from.height)
    const changes = { person: now.person - this.#from.person, relay: now.relay - this.#from.relay }
    const rows: [string, number][] = [
      [person.name, changes.person],
      [relay.name, changes.relay],
      ...(unclaimed === 0 ? [] : [[`for ${relay.name}, if it comes back`, unclaimed] as [string, number]]),
      [`miners, for ${count} transactions`, fees],
      ...(burned === 0 ? [] : [['burned', burned] as [string, number]]),
    ]
    tellChanges(this.#stage, rows)
    return { ...changes, fees, burned }
  }
}

/** A table of who has more or less, in satoshi. @throws where it does not sum to zero */
export function tellChanges(stage: Stage, rows: readonly (readonly [name: string, satoshi: number])[]): void {
  const sum = rows.reduce((total, [, satoshi]) => total + satoshi, 0)
  const width = Math.max(30, ...rows.map(([name]) => name.length + 2))
  for (const [name, satoshi] of [...rows, ['all', sum] as const])
    stage.say(`${name.padEnd(width)}${signed(satoshi).padStart(10)} satoshi`)
  check(sum === 0, `every satoshi to be accounted for, but ${sum} are not`)
}

/** What the transactions of the blocks above `height` paid to miners or burned. */
export async function paidSince(
  rpc: Rpc,
  height: number,
): Promise<{ fees: number; burned: number; count: number }> {
  let [fees, burned, count] = [0, 0, 0]
  const top = Number(await rpc('getblockcount'))
  for (let at = height + 1; at <= top; at++) {
    const block = String(await rpc('getblock', await rpc('getblockhash', at), 0))
    // The first of each block makes new coins.
    for (const { transaction } of [...readBlock(fromHex(block)).transactions].slice(1)) {
      const sums = await sumsOf(rpc, transaction)
      fees += sums.fee
      burned += sums.burned
      count++
    }
  }
  return { fees, burned, count }
}

async function balances(
  stage: Stage,
  { person, relay }: Parties,
): Promise<{ person: number; relay: number }> {
  const [mine] = await stage.run(person, 'wallet', 'balance')
  const [line = '{}'] = await stage.operate(relay.name, 'wallet', 'balance', '--json')
  const theirs = JSON.parse(line) as Line
  return { person: Number(mine?.satoshis), relay: Number(theirs.confirmed) + Number(theirs.unconfirmed) }
}

async function sumsOf(rpc: Rpc, { inputs, outputs }: Transaction): Promise<{ fee: number; burned: number }> {
  let left = 0
  for (const { txid, vout } of inputs) {
    const spent = parseTransaction(fromHex(String(await rpc('getrawtransaction', txid))))
    left += spent.outputs[vout]!.satoshis // the chain has taken it
  }
  let burned = 0
  for (const { satoshis, script } of outputs) {
    left -= satoshis
    if (script[0] === 0 && script[1] === 0x6a) burned += satoshis
  }
  return { fee: left, burned }
}

export const signed = (satoshi: number): string => (satoshi > 0 ? `+${satoshi}` : String(satoshi))
