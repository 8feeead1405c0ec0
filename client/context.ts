/** What every part of the client works with; made once by `Client.open`. */
import { type RelayAddress, formatAddress, parseAddress } from '../market/address.ts'
import type { Key } from '../market/units.ts'
import { Connection } from './connection.ts'
import type { Home } from './home.ts'
import { homeReads } from './reads.ts'
import type { Wallet } from './wallet.ts'

/** What the user should hear though nothing failed. */
export type Notice =
  | { readonly type: 'plain-http'; readonly relay: string }
  | { readonly type: 'relay-failed'; readonly relay: string; readonly error: Error }
  | { readonly type: 'damaged'; readonly error: Error }
  | { readonly type: 'record-unread'; readonly path: string; readonly error: Error }
  | { readonly type: 'transfer-failed'; readonly name: string; readonly error: Error }
  | { readonly type: 'friend-moved'; readonly friend: Key; readonly relays: readonly string[] }
  | { readonly type: 'friend-forked'; readonly friend: Key }

export interface Context {
  readonly home: Home
  readonly wallet: Wallet
  /** How many receipts make a record accepted. */
  readonly quorum: number
  readonly now: () => number
  readonly notify: (notice: Notice) => void
  /** The one connection to an address. */
  connect(address: RelayAddress): Connection
}

export type ContextOptions = Omit<Context, 'connect'>

export function createContext(options: ContextOptions): Context {
  const reads = homeReads(options.home)
  const named = new Set<string>()
  const connections = new Map<string, Connection>()
  return {
    ...options,
    notify(notice) {
      // A damaged file is met at every turn; once is enough.
      if (notice.type === 'damaged' && named.has(notice.error.message)) return
      if (notice.type === 'damaged') named.add(notice.error.message)
      options.notify(notice)
    },
    connect(address) {
      const name = formatAddress(address)
      const known = connections.get(name)
      if (known !== undefined) return known
      const connection = new Connection(address, options.wallet, { now: options.now, reads })
      connections.set(name, connection)
      if (isOpenToNetwork(address)) void noticePlainHttp(options, address.url)
      return connection
    },
  }
}

/** Plain http, and not to this same machine. */
function isOpenToNetwork({ url }: RelayAddress): boolean {
  const { protocol, hostname } = new URL(url)
  return protocol === 'http:' && !/^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(hostname)
}

/** Legal, since everything is signed and encrypted; but paths are there for the network to see. */
async function noticePlainHttp({ home, notify }: ContextOptions, relay: string): Promise<void> {
  // A home that cannot remember what was said must not stop anything: it is said once too often.
  const isNew = await home.noticeOnce(`plain-http ${relay}`).catch(() => true)
  if (isNew) notify({ type: 'plain-http', relay })
}

/** The user's own relays, in the order of the identity file. */
export async function ownRelays({ home }: Context): Promise<RelayAddress[]> {
  return (await home.me()).msg.request.relays.map(parseAddress)
}
