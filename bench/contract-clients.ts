/** Clients of contracts, as cheap as they can be: their stakes, openings and payments, sealed before the clock runs. */
import type { NodeChain } from '../contracts/chain/node.ts'
import { checkServerInputs } from '../contracts/escrow/checks.ts'
import { type Contract, contractOf } from '../contracts/escrow/contract.ts'
import { type EscrowSigner, escrowKeys, walletSigner } from '../contracts/escrow/keys.ts'
import { type FundingWire, readFunding, writeFunding } from '../contracts/escrow/messages.ts'
import { signStakes, signState } from '../contracts/escrow/signatures.ts'
import type { Terms } from '../contracts/escrow/terms.ts'
import { type Funding, openingDraft, stakeDue } from '../contracts/escrow/transactions.ts'
import { p2pkh } from '../contracts/transaction/script.ts'
import {
  type Outpoint,
  parseTransaction,
  serializeTransaction,
} from '../contracts/transaction/transaction.ts'
import { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import { fromHex, toBase64, toHex } from '../market/bytes.ts'
import { seal } from '../market/envelope.ts'
import { sha256Hex } from '../market/hash.ts'
import { beefOf } from '../test/fixtures/wallet.ts'
import type { HttpConnection } from './http.ts'
import type { Message } from './messages.ts'
import type { RelayProcess } from './relay-process.ts'

const day = 86_400
export const prices = { storageGBDay: 4000, egressGB: 100_000, ingressGB: 0 }

interface Result {
  readonly tx?: string
  readonly txid?: string
  readonly funding?: FundingWire
}
interface Reply {
  readonly result?: Result
  readonly code?: string
}

export interface Opened {
  readonly keys: KeyWallet
  readonly signer: EscrowSigner
  readonly contract: Contract
  readonly joint: Outpoint
  readonly bytes: number
}

export type Ready = Awaited<ReturnType<typeof prepare>>

/** A client whose stake is paid. */
export async function stake(relay: RelayProcess, { chain, url }: { chain: NodeChain; url: string }) {
  const keys = KeyWallet.random()
  const created = Math.floor(Date.now() / 1000)
  const terms: Terms = {
    v: 1,
    network: 'devnet',
    nonce: sha256Hex(keys.identity),
    client: keys.identity,
    server: relay.key,
    ...{ created, openBy: created + 600, expiry: created + 30 * day, closeMargin: 21_600 },
    ...{ budget: 300_000, depositClient: 10_000, depositServer: 5000, creditLimit: 10_000 },
    ...{ feeRate: 100, closeFee: 100, prices, period: day },
  }
  const contract = contractOf(terms, await escrowKeys(keys, terms, 'client'))
  const script = p2pkh(contract.keys.stake.client)
  const satoshis = stakeDue(contract, 'client', 1)
  const txid = await rpc(url, 'faucet', toHex(script), satoshis)
  const { outputs } = parseTransaction((await chain.transaction(txid))!) // just paid
  const vout = outputs.findIndex((output) => toHex(output.script) === toHex(script))
  const own: Funding = { stakes: [{ txid, vout, satoshis, script }], change: null }
  return { keys, contract, own }
}

/** What it will ask for. */
export async function prepare({ keys, contract, own }: Awaited<ReturnType<typeof stake>>, chain: NodeChain) {
  const open = {
    type: 'contractOpen',
    userPubkey: keys.identity,
    terms: contract.terms,
    tx: toHex(serializeTransaction(openingDraft(contract, own).transaction)),
    funding: writeFunding(own),
    beef: toBase64(Uint8Array.from(await beefOf(chain, own.stakes[0]!.txid))), // it has one
  }
  const signer = walletSigner(keys)
  return { keys, signer, contract, own, open }
}

export async function rpc(url: string, method: string, ...params: unknown[]): Promise<string> {
  const body = JSON.stringify({ jsonrpc: '1.0', id: 1, method, params })
  const { result } = (await (await fetch(url, { method: 'POST', body })).json()) as { result: string }
  return result
}

export async function open(connection: HttpConnection, relay: RelayProcess, one: Ready): Promise<Opened> {
  const { keys, signer, contract, own } = one
  const first = await ask(connection, relay, one, one.open)
  const { tx = '', funding } = resultOf(first.reply)
  const now = Math.floor(Date.now() / 1000)
  const draft = checkServerInputs(contract, own, { tx: fromHex(tx), funding: readFunding(funding!) }, now) // it is of this type
  const half = await signStakes(contract, draft, [0, 1], { side: 'client', signer })
  const signed = {
    type: 'ContractClientSigned',
    contract: contract.id,
    tx: toHex(serializeTransaction(half)),
  }
  const second = await ask(connection, relay, one, signed)
  const joint = { txid: String(resultOf(second.reply).txid), vout: 0 }
  return { keys, signer, contract, joint, bytes: first.bytes + second.bytes }
}

/** In turn, so that two of one contract never overtake each other. */
export async function payments(
  relay: RelayProcess,
  opened: readonly Opened[],
  ofEach: number,
): Promise<Message[]> {
  const messages: Message[] = []
  for (let paid = 1; paid <= ofEach; paid++)
    for (const { keys, signer, contract, joint } of opened) {
      const by = { side: 'client', signer } as const
      const sig = toHex(await signState(contract, joint, { kind: 'progress', paid }, by))
      const settledSig = toHex(await signState(contract, joint, { kind: 'settled', paid }, by))
      const request = {
        type: 'ContractPayment',
        contract: contract.id,
        paid,
        sig,
        settled: paid,
        settledSig,
      }
      messages.push(await sealed(keys, relay, request))
    }
  return messages
}

let nonces = 0
const sealed = (keys: KeyWallet, { key: to }: RelayProcess, request: object): Promise<Message> =>
  seal(
    {
      to,
      timestamp: Date.now(),
      nonce: (nonces++).toString(16).padStart(16, '0'),
      request: request as never,
    },
    keys,
  )

export async function ask(
  connection: HttpConnection,
  relay: RelayProcess,
  { keys }: Pick<Ready, 'keys'>,
  request: object,
): Promise<{ reply: Reply; bytes: number }> {
  const { text } = await sealed(keys, relay, request)
  const { body } = await connection.post(text)
  const { msg } = JSON.parse(body.toString()) as { msg: { request: Reply } }
  return { reply: msg.request, bytes: Buffer.byteLength(text) }
}

function resultOf(reply: Reply): Result {
  if (reply.result === undefined) throw new Error(JSON.stringify(reply))
  return reply.result
}
