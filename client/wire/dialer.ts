/**
 * The way out: every connection of a client is opened here, directly or through a SOCKS5 proxy. An address that a stranger
 * named leads to the open internet only (docs/protocol.md §8.1); what is judged is the address that is connected to.
 */
import type { Agent, AgentOptions } from 'node:http'
import { isIP, type Socket } from 'node:net'
import type { SocksClientOptions } from 'socks'
import { MarketError } from '../../market/errors.ts'
import {
  type Lookup,
  PlainAgent,
  type Route,
  SecureAgent,
  systemLookup,
  type Target,
} from '../../market/way/agents.ts'
import { isOnion, isPublic, isThisMachine } from '../../market/way/ranges.ts'
import { ClientError, messageOf, told } from '../errors.ts'

const dialerLimits = {
  /** Idle connections to one host that are kept for the next request. */
  idleSockets: 8,
  /** How long each of them is kept. */
  idleMs: 30_000,
  /** Addresses of one name that are tried. */
  addresses: 8,
  /** Until the proxy has connected. */
  proxyMs: 20_000,
  proxyPort: 1080,
} as const

const pool = { keepAlive: true, maxFreeSockets: dialerLimits.idleSockets, timeout: dialerLimits.idleMs }

export interface DialerOptions {
  /** `socks5h://[user:password@]host[:port]`: all but this machine is reached through it, and it resolves the names. */
  readonly proxy?: string | undefined
  /** Strangers may name any address: for tests, demos and devnets. */
  readonly allowPrivate?: boolean | undefined
  readonly lookup?: Lookup | undefined
}

/** Opens connections, and knows on whose word. */
export class Dialer {
  readonly #proxy: SocksClientOptions['proxy'] | undefined
  readonly #allowPrivate: boolean
  readonly #lookup: Lookup
  readonly #named = new Set<string>()
  #owned: () => Promise<readonly string[]> = async () => []
  readonly #plain = new PlainAgent(this, pool)
  readonly #secure = new SecureAgent(this, pool)

  /** @throws ERR_MALFORMED for what is no proxy */
  constructor({ proxy, allowPrivate = false, lookup = systemLookup }: DialerOptions = {}) {
    this.#proxy = proxy === undefined ? undefined : parseProxy(proxy)
    this.#allowPrivate = allowPrivate
    this.#lookup = lookup
  }

  /** What carries requests to `url`, in the life of this dialer. */
  agentFor(url: string): Agent {
    return url.startsWith('https:') || url.startsWith('wss:') ? this.#secure : this.#plain
  }

  /** The user named this URL himself: it may be anywhere. */
  allow(url: string): void {
    this.#named.add(originOf(url))
  }

  /** URLs that the user named himself earlier, asked for when one of them matters. */
  allowAll(owned: () => Promise<readonly string[]>): void {
    this.#owned = owned
  }

  /** An agent of its own for a server that the user named, to be destroyed by whoever has it. */
  agentOf(url: URL, options: AgentOptions): Agent {
    this.allow(url.href)
    return new (url.protocol === 'https:' ? SecureAgent : PlainAgent)(this, options)
  }

  /**
   * How to reach a host: by a socket through the proxy, or by addresses that may be connected to.
   * @throws ERR_PRIVATE_ADDRESS, ERR_NO_PROXY, ERR_UNREACHABLE
   */
  async route(target: Target): Promise<Route> {
    const { host } = target
    const isHere = isThisMachine(host)
    if (this.#proxy !== undefined && !isHere) {
      if (isIP(host) !== 0) await this.#check(target, [host])
      return { socket: await this.#throughProxy(this.#proxy, target) }
    }
    if (isOnion(host))
      throw new ClientError(
        'ERR_NO_PROXY',
        `${host} is reached through Tor only: --proxy socks5h://127.0.0.1:9050, or RELAY_PROXY`,
      )
    const found = isIP(host) === 0 ? await this.#lookup(host) : [host]
    if (found.length === 0) throw new ClientError('ERR_UNREACHABLE', `${host} has no address`)
    return { addresses: await this.#check(target, found.slice(0, dialerLimits.addresses)) }
  }

  /** Where a name leads to now, as far as this machine is to know: behind a proxy names are resolved elsewhere. @throws what resolvers do */
  async addressesOf(url: string): Promise<readonly string[]> {
    const { host } = targetOf(originOf(url))
    if (isIP(host) !== 0) return [host]
    const isHidden = isOnion(host) || (this.#proxy !== undefined && !isThisMachine(host))
    return isHidden ? [] : (await this.#lookup(host)).slice(0, dialerLimits.addresses)
  }

  /**
   * Tells of URLs that strangers named whether they would certainly be refused, for judging many without asking anybody: a name
   * may still lead into a private network.
   */
  async judge(): Promise<(url: string) => boolean> {
    const own = this.#allowPrivate ? [] : await this.#ownTargets()
    return (url) => {
      const target = targetOf(originOf(url))
      const isInside = isIP(target.host) === 0 ? isThisMachine(target.host) : !isPublic(target.host)
      return isInside && !this.#allowPrivate && !isAmong(own, target)
    }
  }

  /** Those that may be connected to. @throws ERR_PRIVATE_ADDRESS when none may */
  async #check(target: Target, found: readonly string[]): Promise<readonly string[]> {
    const open = found.filter(isPublic)
    if (open.length === found.length || (await this.#isOwn(target))) return found
    if (open.length > 0) return open
    throw new ClientError(
      'ERR_PRIVATE_ADDRESS',
      `${target.host} is an address inside of a private network, and you did not name it yourself: --allow-private goes there`,
    )
  }

  /** The user named it; or it is this machine, where he himself has a relay. */
  async #isOwn(target: Target): Promise<boolean> {
    return this.#allowPrivate || isAmong(await this.#ownTargets(), target)
  }

  async #ownTargets(): Promise<readonly Target[]> {
    return [...this.#named, ...(await this.#owned()).map(originOf)].map(targetOf)
  }

  async #throughProxy(proxy: SocksClientOptions['proxy'], { host, port }: Target): Promise<Socket> {
    const { SocksClient } = await import('socks')
    try {
      const timeout = dialerLimits.proxyMs
      const destination = { host, port }
      return (await SocksClient.createConnection({ proxy, command: 'connect', destination, timeout })).socket
    } catch (cause) {
      const text = `the proxy ${proxy.host}:${proxy.port} does not lead to ${host}: ${told(messageOf(cause))}`
      throw new ClientError('ERR_UNREACHABLE', text, cause)
    }
  }
}

const isAmong = (own: readonly Target[], { host, port }: Target): boolean =>
  own.some(
    (known) =>
      (known.host === host && known.port === port) || (isThisMachine(known.host) && isThisMachine(host)),
  )

const originOf = (url: string): string => new URL(url).origin

const targetOf = (origin: string): Target => {
  const { protocol, hostname, port } = new URL(origin)
  const host = hostname.replace(/^\[|\]$/g, '')
  return { host, port: port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port) }
}

/** @throws ERR_MALFORMED, which does not repeat the text: it may hold a password */
function parseProxy(text: string): SocksClientOptions['proxy'] {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || url.protocol !== 'socks5h:' || url.hostname === '' || url.pathname.length > 1)
    throw new MarketError(
      'ERR_MALFORMED',
      'a proxy is socks5h://[user:password@]host[:port]: names are resolved behind it, never here',
    )
  const [userId, password] = [decodeURIComponent(url.username), decodeURIComponent(url.password)]
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? dialerLimits.proxyPort : Number(url.port),
    type: 5,
    ...(userId !== '' && { userId, password }),
  }
}

/** For addresses that are all the caller's own choice. */
export const ownChoice = new Dialer({ allowPrivate: true })
