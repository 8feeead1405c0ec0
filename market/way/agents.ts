/** Agents of Node's http that ask for the way before they connect, and connect to nothing else. */
import { lookup as resolve } from 'node:dns/promises'
import http from 'node:http'
import https from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import type { Duplex } from 'node:stream'

export interface Target {
  readonly host: string
  readonly port: number
}

/** A connection that is there, or the addresses that may be connected to: at least one. */
export type Route = { readonly socket: Duplex } | { readonly addresses: readonly string[] }

export interface Router {
  route(target: Target): Promise<Route>
}

/** All addresses of a name. */
export type Lookup = (host: string) => Promise<readonly string[]>

/** As every program of this machine finds them: what its operator wrote into `hosts` counts. */
export const systemLookup: Lookup = async (host) =>
  (await resolve(host, { all: true })).map(({ address }) => address)

export class PlainAgent extends http.Agent {
  readonly #router: Router

  constructor(router: Router, options: http.AgentOptions) {
    super(options)
    this.#router = router
  }

  override createConnection(options: http.ClientRequestArgs, done: Connected): undefined {
    const open = (way: Route) =>
      'socket' in way ? way.socket : super.createConnection({ ...options, lookup: pinned(way.addresses) })
    connected(this.#router, options, open).then((socket) => done(null, socket), failing(done))
  }
}

export class SecureAgent extends https.Agent {
  readonly #router: Router

  constructor(router: Router, options: https.AgentOptions) {
    super(options)
    this.#router = router
  }

  override createConnection(options: https.RequestOptions, done: Connected): undefined {
    const open = (way: Route) =>
      super.createConnection({
        ...options,
        ...('socket' in way ? { socket: way.socket } : { lookup: pinned(way.addresses) }),
      })
    connected(this.#router, options, open).then((socket) => done(null, socket), failing(done))
  }
}

type Connected = (error: Error | null, stream: Duplex) => void

/** Node's own type wants a stream beside an error; there is none. */
const failing = (done: Connected) => (error: Error) => (done as (error: Error) => void)(error)

async function connected(
  router: Router,
  { host, port }: http.ClientRequestArgs,
  open: (way: Route) => Duplex | null | undefined,
): Promise<Duplex> {
  return open(await router.route({ host: String(host), port: Number(port) }))! // without a callback it is returned
}

/** A resolver that knows these addresses alone: nobody is asked between the check and the connection. */
const pinned =
  (addresses: readonly string[]): LookupFunction =>
  (_host, { all }, done) => {
    const found = addresses.map((address) => ({ address, family: isIP(address) }))
    if (all) done(null, found)
    else done(null, found[0]!.address, found[0]!.family) // there is at least one
  }
