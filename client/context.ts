/** What every part of the client works with; made once by `Client.open`. */
import { formatAddress, type RelayAddress } from '../market/address.ts'
import type { RecordId } from '../market/record.ts'
import type { Hash, Key } from '../market/units.ts'
import { codeOf, isAboutMoney } from './errors.ts'
import type { Home } from './home/home.ts'
import { homeReads } from './home/reads.ts'
import { namedPlaces } from './people/identity-url.ts'
import { PriceMemory } from './money/prices.ts'
import type { Holder, Wallet } from './wallet.ts'
import { Connection } from './wire/connection.ts'
import { Dialer } from './wire/dialer.ts'
import { isOnion, isThisMachine } from '../market/way/ranges.ts'

/** What the user should hear though nothing failed. */
export type Notice =
  | { readonly type: 'plain-http'; readonly relay: string }
  /** Nobody answered at the address of a new relay: its key is taken on trust until somebody does. */
  | { readonly type: 'relay-unchecked'; readonly relay: string }
  | { readonly type: 'relay-failed'; readonly relay: string; readonly error: Error }
  /** Messages in boxes wait there, which are not records to be pulled; said once. */
  | { readonly type: 'boxes'; readonly relay: string }
  | {
      /** A relay's receipt reserves more than it had quoted, or than the user's bound leaves it, in satoshi. */
      readonly type: 'overcharged'
      readonly relay: string
      readonly recordId: RecordId
      readonly quoted: string
      readonly reserved: string
      /** Its quote was over when it took the record; otherwise it broke its word. */
      readonly hasEnded: boolean
    }
  | { readonly type: 'damaged'; readonly error: Error }
  | { readonly type: 'record-unread'; readonly path: string; readonly error: Error }
  | { readonly type: 'transfer-failed'; readonly name: string; readonly error: Error }
  /** The coins are safe here, but not on the relays. */
  | { readonly type: 'backup-unplaced'; readonly error: Error }
  /** Relays keep the coins' backup and are paid for it; said once. */
  | { readonly type: 'backup-paid' }
  /** The relay says when a contract stops to serve, unix milliseconds: renewed before, what lies there stays. */
  | {
      readonly type: 'contract-ending'
      readonly relay: string
      readonly contract: Hash
      readonly serviceEnd: number
    }
  | {
      readonly type: 'friend-moved'
      readonly friend: Key
      readonly name: string
      readonly relays: readonly string[]
    }
  | { readonly type: 'friend-forked'; readonly friend: Key }

export interface Context {
  readonly home: Home
  readonly wallet: Wallet
  /** Who pays. */
  readonly holder?: Holder
  /** How many receipts make a record accepted. */
  readonly quorum: number
  readonly now: () => number
  readonly notify: (notice: Notice) => void
  readonly prices: PriceMemory
  /** The way out of this machine. */
  readonly dialer: Dialer
  /** The most that is ever signed over in any contract while this is at work, satoshi; what a contract allows holds besides. */
  readonly maxSpend?: number | undefined
  /** The one connection to an address. */
  connect(address: RelayAddress): Connection
}

export type ContextOptions = Omit<Context, 'connect' | 'dialer' | 'prices'> & { readonly dialer?: Dialer }

/** What money stops is met at every turn, until somebody pays: it is said this often. */
const moneyNoticeMs = 3_600_000

export function createContext(options: ContextOptions): Context {
  const reads = homeReads(options.home)
  const isSaid = said(options.now)
  const connections = new Map<string, Connection>()
  const { dialer = new Dialer() } = options
  dialer.allowAll(() => ownAddresses(options.home))
  return {
    ...options,
    dialer,
    prices: new PriceMemory(options.now),
    notify(notice) {
      if (!isSaid(notice)) options.notify(notice)
    },
    connect(address) {
      const name = formatAddress(address)
      const known = connections.get(name)
      if (known !== undefined) return known
      const connection = new Connection(address, options.wallet, { now: options.now, reads, dialer })
      connections.set(name, connection)
      if (isOpenToNetwork(address)) void noticePlainHttp(options, address.url)
      return connection
    },
  }
}

/** Tells whether the user knows a notice already, of those that every turn would repeat. */
function said(now: () => number): (notice: Notice) => boolean {
  const until = new Map<string, number>()
  return (notice) => {
    if (!('error' in notice)) return false
    const { type, error } = notice
    const isMoney = isAboutMoney(error)
    if (type !== 'damaged' && !isMoney) return false
    const name = isMoney ? `${type} ${subjectOf(notice)} ${codeOf(error)}` : error.message
    if ((until.get(name) ?? 0) > now()) return true
    until.set(name, isMoney ? now() + moneyNoticeMs : Number.POSITIVE_INFINITY)
    return false
  }
}

const subjectOf = (notice: Notice): string =>
  'relay' in notice ? notice.relay : 'name' in notice ? notice.name : ''

/** Where the user has relays, and had, and where he said that friends are. */
async function ownAddresses(home: Home): Promise<string[]> {
  const relays = (await home.hasIdentity()) ? (await home.me()).msg.request.relays : []
  return [...relays, ...(await home.retired()), ...(await namedPlaces(home))]
}

/** Plain http, and neither to this same machine nor hidden by Tor. */
function isOpenToNetwork({ url }: RelayAddress): boolean {
  const { protocol, hostname } = new URL(url)
  return protocol === 'http:' && !isThisMachine(hostname.replace(/^\[|\]$/g, '')) && !isOnion(hostname)
}

/** Legal, since everything is signed and encrypted; but paths are there for the network to see. */
async function noticePlainHttp({ home, notify }: ContextOptions, relay: string): Promise<void> {
  // A home that cannot remember what was said must not stop anything: it is said once too often.
  const isNew = await home.noticeOnce(`plain-http ${relay}`).catch(() => true)
  if (isNew) notify({ type: 'plain-http', relay })
}
