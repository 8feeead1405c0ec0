/** The packets of Engine.IO 4 and, inside them, those of Socket.IO 5: as far as authsocket needs them, and nothing binary. */

/** Of Engine.IO, by their first character. */
export const engine = {
  open: '0',
  close: '1',
  ping: '2',
  pong: '3',
  message: '4',
  upgrade: '5',
  noop: '6',
  probe: '2probe',
  probed: '3probe',
  separator: '\x1e',
} as const

/** What Engine.IO answers to a request it refuses, with status 400. */
export const refusals = {
  unknownTransport: { code: 0, message: 'Transport unknown' },
  unknownSession: { code: 1, message: 'Session ID unknown' },
  badRequest: { code: 3, message: 'Bad request' },
  forbidden: { code: 4, message: 'Forbidden' },
  unknownVersion: { code: 5, message: 'Unsupported protocol version' },
} as const
export type Refusal = (typeof refusals)[keyof typeof refusals]

/** Of Socket.IO. The namespace is '/', or the path under which a relay is published: clients take the one for the other. */
export type Frame =
  | { readonly type: 'connect'; readonly namespace: string }
  | { readonly type: 'disconnect'; readonly namespace: string }
  | {
      readonly type: 'event'
      readonly namespace: string
      readonly name: unknown
      readonly argument: unknown
    }

const form = /^([012])(?:(\/[^,]{0,255}),)?(\d{0,15})/

/** `undefined` for what is malformed, binary, or an acknowledgement. */
export function parseFrame(text: string): Frame | undefined {
  const [head, type, namespace = '/', id] = form.exec(text) ?? []
  if (head === undefined) return undefined
  if (type === '0' && id === '') return { type: 'connect', namespace }
  if (type === '1' && id === '') return { type: 'disconnect', namespace }
  if (type !== '2') return undefined
  try {
    const given: unknown = JSON.parse(text.slice(head.length))
    if (!Array.isArray(given) || given.length > 2) return undefined
    return { type: 'event', namespace, name: given[0], argument: given[1] }
  } catch {
    return undefined
  }
}

const inNamespace = (namespace: string): string => (namespace === '/' ? '' : `${namespace},`)

export const connected = (namespace: string, sid: string): string =>
  `0${inNamespace(namespace)}${JSON.stringify({ sid })}`
export const disconnected = (namespace: string): string => `1${inNamespace(namespace)}`
export const refusedNamespace = (namespace: string): string =>
  `4${inNamespace(namespace)}${JSON.stringify({ message: 'Invalid namespace' })}`
/** @param argument JSON */
export const event = (namespace: string, name: string, argument: string): string =>
  `2${inNamespace(namespace)}[${JSON.stringify(name)},${argument}]`
