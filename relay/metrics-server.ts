/** Where Prometheus finds the metrics, on an address of their own: what the relay earns is not for the public one. */
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Registry } from 'prom-client'
import { canonicalAddress } from './rate.ts'

/** Making a page takes milliseconds in which nobody else is served, and anybody who reaches the port may ask for it. */
const pageMs = 1000
const connections = 16
const idleMs = 10_000
const serverLimits = {
  maxHeaderSize: 8192,
  headersTimeout: 5000,
  requestTimeout: 10_000,
  connectionsCheckingInterval: 1000,
} as const

export interface MetricsDeps {
  page(): Promise<string>
  /** Milliseconds that no setting of the clock changes. */
  monotonic(): number
  onError(error: unknown): void
}

/** Serves the page as GET /metrics, once per connection, and nothing else, until closed. @throws when the port is taken */
export async function serveMetrics(
  { host, port }: { readonly host: string; readonly port: number },
  deps: MetricsDeps,
): Promise<{ address: AddressInfo; close(): Promise<void> }> {
  const { onError } = deps
  const page = remembered(deps)
  let isFor = (_request: IncomingMessage) => true
  const asked = new WeakSet<object>()
  const server = createServer(serverLimits, (request, response) => {
    // Whoever asks on and does not read would have every page kept for him.
    if (asked.has(request.socket)) {
      request.socket.destroy()
      return
    }
    asked.add(request.socket)
    response.setHeader('connection', 'close')
    if (!isFor(request)) response.writeHead(403).end()
    else if (request.method !== 'GET' || request.url?.split('?')[0] !== '/metrics')
      response.writeHead(404).end()
    else
      page().then(
        (text) => response.writeHead(200, { 'content-type': Registry.PROMETHEUS_CONTENT_TYPE }).end(text),
        (error: unknown) => {
          onError(error)
          response.writeHead(500).end()
        },
      )
  })
  server.maxConnections = connections
  server.setTimeout(idleMs)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  })
  // A connection that cannot be accepted must not end the relay.
  server.on('error', onError)
  const address = server.address() as AddressInfo // it listens on TCP
  if (isLoopback(address.address)) isFor = (request) => isLocalName(nameOf(request), host)
  return {
    address,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** A page for all who ask within a second of the first. */
function remembered({ page, monotonic }: MetricsDeps): () => Promise<string> {
  let latest: Promise<string> | undefined
  let madeAt = 0
  return () => {
    if (latest !== undefined && monotonic() - madeAt < pageMs) return latest
    madeAt = monotonic()
    latest = page()
    return latest
  }
}

const isLoopback = (name: string): boolean => {
  const address = canonicalAddress(name)
  return address !== undefined && (address === '::1' || address.startsWith('127.'))
}

/** A page of some site, whose name was made to mean this machine, asks under that name: it must not read what is earned. */
const isLocalName = (name: string, host: string): boolean =>
  name === 'localhost' || name === host.toLowerCase() || isLoopback(name)

/** What the request calls this server, without the port. */
const nameOf = ({ headers }: IncomingMessage): string =>
  (headers.host ?? '').toLowerCase().replace(/:\d{1,5}$/, '')
