/** The money of a connected wallet: as much of it as such a wallet lets others see and use. */
import type * as sdk from '@bsv/sdk'
import type { Network } from '../../contracts/chain/chain.ts'
import { parseBeef } from '../../contracts/transaction/beef.ts'
import { feeOf } from '../../contracts/transaction/spend.ts'
import { toHex } from '../../market/bytes.ts'
import { ClientError, messageOf } from '../errors.ts'
import type { Brc100 } from '../wallet.ts'
import { type CoinBalance, type CoinHistory, type CoinPayment, checkPayment } from './coins.ts'

/** Our payments are found again by it. */
const label = 'relay'
const page = 1000
const mostPages = 100

export class ConnectedCoins {
  readonly #wallet: Brc100
  readonly #name: string

  constructor(wallet: Brc100, name: string) {
    this.#wallet = wallet
    this.#name = name
  }

  /** @throws ERR_UNSUPPORTED when the wallet keeps its balance to itself, as many do */
  async balance(): Promise<CoinBalance> {
    const network = await this.network()
    let [satoshis, count] = [0, 0]
    for (let pages = 0; pages < mostPages; pages++) {
      const { outputs, totalOutputs } = await this.#told(() =>
        this.#wallet.listOutputs({ basket: 'default', limit: page, offset: count }),
      )
      for (const output of outputs) satoshis += output.satoshis
      count += outputs.length
      if (outputs.length === 0 || count >= totalOutputs) break
    }
    const unknown = { confirmed: null, unconfirmed: null, reserved: null, tip: null, height: null }
    return { network, satoshis, ...unknown, chain: this.#name, isCurrent: true, unavailable: null }
  }

  async check(address: string, satoshis: number): Promise<{ network: Network }> {
    const network = await this.network()
    checkPayment(address, { satoshis, network })
    return { network }
  }

  /** @throws ERR_MALFORMED, ERR_CONFLICT for the address of another network; what the wallet says */
  async send(address: string, satoshis: number): Promise<CoinPayment> {
    const network = await this.network()
    const lockingScript = toHex(checkPayment(address, { satoshis, network }))
    const { txid, tx } = await this.#wallet.createAction({
      description: 'payment to an address',
      labels: [label],
      outputs: [{ lockingScript, satoshis, outputDescription: 'payment' }],
      options: { acceptDelayedBroadcast: false },
    })
    if (txid === undefined)
      throw new ClientError('ERR_UNTRUSTED', `${this.#name} does not say whether it paid`)
    return { network, txid, satoshis, fee: tx === undefined ? null : feeIn(tx), to: address, left: null }
  }

  /** Of what this program had it pay. */
  async history(limit: number): Promise<CoinHistory> {
    const network = await this.network()
    const { totalActions } = await this.#wallet.listActions({ labels: [label], limit: 1 })
    const offset = Math.max(0, totalActions - limit)
    const { actions } = await this.#wallet.listActions({
      labels: [label],
      limit: Math.min(limit, page),
      offset,
    })
    const entries = actions.map(({ txid, status, satoshis, description }) => ({
      ...{ txid, status, satoshis, description },
    }))
    return { network, entries: entries.reverse(), unavailable: null }
  }

  /** @throws ERR_UNSUPPORTED: it keeps its coins, so it is asked itself */
  refuse(what: string): ClientError {
    return new ClientError('ERR_UNSUPPORTED', `${this.#name} ${what}: ask it there`)
  }

  /** What pays and is paid. */
  get wallet(): Brc100 {
    return this.#wallet
  }

  /** BRC-100 knows two networks: everything without worth is one of them. */
  async network(): Promise<Network> {
    return (await this.#wallet.getNetwork({})).network === 'mainnet' ? 'main' : 'test'
  }

  async #told<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask()
    } catch (cause) {
      if (cause instanceof ClientError) throw cause
      throw new ClientError(
        'ERR_UNSUPPORTED',
        `${this.#name} does not tell its balance (${messageOf(cause)}): look there`,
        cause,
      )
    }
  }
}

/** Null where the transaction does not come with what it spends. */
export function feeIn(tx: sdk.AtomicBEEF): number | null {
  try {
    const { members, subject } = parseBeef(Uint8Array.from(tx))
    const spent = subject.transaction.inputs.map(
      ({ txid, vout }) => members.get(txid)!.transaction.outputs[vout]!, // what is missing ends in `catch`
    )
    return feeOf(subject.transaction, spent)
  } catch {
    return null
  }
}
