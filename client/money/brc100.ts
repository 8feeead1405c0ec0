/** A BRC-100 wallet outside of this program, over HTTP: its answers bounded, its refusals in sentences. */
import { z } from 'zod'
import { loadSdk } from '../../contracts/transaction/sdk.ts'
import { MarketError } from '../../market/errors.ts'
import { Key } from '../../market/units.ts'
import { ClientError, messageOf, told } from '../errors.ts'
import type { Brc100 } from '../wallet.ts'
import type { Dialer } from '../wire/dialer.ts'
import { fetchText } from '../wire/http.ts'

const limits = {
  /** Somebody may have to be found, and to say yes. */
  timeoutMs: 120_000,
  replyBytes: 64 << 20,
} as const
/** By this name wallets ask their user whether we may. */
const originator = 'relay-market.localhost'

/** @throws ERR_MALFORMED for what is no URL, or would show contents and payments to the network */
export function checkWalletUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !['http:', 'https:'].includes(url.protocol) || url.search + url.hash !== '')
    throw new MarketError('ERR_MALFORMED', 'the address of a wallet is like http://127.0.0.1:3321')
  if (url.username + url.password !== '')
    throw new MarketError('ERR_MALFORMED', 'the address of a wallet has no name and no password in it')
  const isHere = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(url.hostname)
  if (url.protocol === 'http:' && !isHere)
    throw new MarketError(
      'ERR_MALFORMED',
      `plain http to ${url.host}: the network would read along, so only https, or a wallet on this machine`,
    )
  return url.href.replace(/\/+$/, '')
}

/** What the user knows it by. */
export const walletName = (url: string): string => `the wallet at ${url}`

/** The wallet at a URL. Nothing is asked yet. @throws as `checkWalletUrl` */
export async function httpWallet(text: string, dialer: Dialer): Promise<Brc100> {
  const url = checkWalletUrl(text)
  dialer.allow(url)
  const shown = walletName(url)
  const { HTTPWalletJSON } = await loadSdk()
  const ask = async (to: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const headers = init?.headers as Record<string, string> // as its caller, the substrate, gives them
    const { timeoutMs, replyBytes } = limits
    const request = { url: String(to), body: String(init?.body), headers, shown, timeoutMs }
    const { status, text: body } = await fetchText(dialer, { ...request, maxReplyBytes: replyBytes })
    const json = async () => parse(body, shown)
    return { ok: status >= 200 && status < 300, status, json } as Response // all that the substrate looks at
  }
  return guarded(new HTTPWalletJSON(originator, url, ask), shown)
}

/** Whose the wallet is. @throws ERR_UNREACHABLE, ERR_UNTRUSTED */
export async function identityAt(wallet: Brc100, url: string): Promise<Key> {
  const key = Key.safeParse((await wallet.getPublicKey({ identityKey: true })).publicKey)
  if (key.success) return key.data
  throw new ClientError('ERR_UNTRUSTED', `what answers at ${url} is no BRC-100 wallet`)
}

function parse(body: string, shown: string): unknown {
  try {
    return z.looseObject({}).parse(JSON.parse(body))
  } catch (cause) {
    throw new ClientError('ERR_UNTRUSTED', `${shown} does not answer as a BRC-100 wallet`, cause)
  }
}

const names = [
  'getPublicKey',
  'createSignature',
  'verifySignature',
  'createHmac',
  'verifyHmac',
  'encrypt',
  'decrypt',
  'getNetwork',
  'createAction',
  'abortAction',
  'internalizeAction',
  'listOutputs',
  'relinquishOutput',
  'listActions',
] as const satisfies readonly (keyof Brc100)[]

function guarded(wallet: Brc100, shown: string): Brc100 {
  const calls = names.map((name) => [
    name,
    async (args: unknown) => {
      try {
        return await (wallet[name] as (args: unknown) => Promise<unknown>).call(wallet, args)
      } catch (error) {
        throw refusalOf(error, shown)
      }
    },
  ])
  return Object.fromEntries(calls) as Brc100 // each call has its own name, arguments and result
}

const Missing = z.looseObject({ totalSatoshisNeeded: z.number(), moreSatoshisNeeded: z.number() })
const Said = z.looseObject({ message: z.string() })

/** The substrate repeats our arguments in its errors, contents among them: they go no further. */
export function refusalOf(error: unknown, shown: string): Error {
  if (error instanceof ClientError || error instanceof MarketError) return error
  const missing = Missing.safeParse(error)
  if (missing.success) {
    const { moreSatoshisNeeded: more, totalSatoshisNeeded: total } = missing.data
    return new MarketError(
      'ERR_INSUFFICIENT_FUNDS',
      `${more} satoshi are missing of ${total} that are needed, fee included, says ${shown}`,
    )
  }
  return new MarketError('ERR_FORBIDDEN', `${shown} says no: ${sentenceOf(messageOf(error))}`)
}

function sentenceOf(text: string): string {
  try {
    return told(Said.parse(JSON.parse(text)).message)
  } catch {
    return told(text)
  }
}
