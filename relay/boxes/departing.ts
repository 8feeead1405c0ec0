/** Messages for people who live on other hosts: they leave with the commit that stores them (docs/protocol.md §14.4). */
import type { SignedMessage } from '../../contracts/overlay/propagation.ts'
import { fromHex } from '../../market/bytes.ts'
import { dayMs, type Hash, type Key } from '../../market/units.ts'
import type { Host } from '../../contracts/overlay/host.ts'
import type { Boxed, BoxMessage } from '../store/boxes.ts'
import {
  broughtHash,
  type Departure,
  findDeparture,
  putBrought,
  putDeparture,
  wasBrought,
} from '../store/departures.ts'
import type { RecordBatch } from '../store/store.ts'
import { BoxError } from './codes.ts'
import { checkCopies } from './copies.ts'
import type { Dues } from './fees.ts'
import type { Letter, SentResult } from './send.ts'

/** Where somebody lives. */
export interface Route {
  /** Other hosts: at least one. */
  readonly hosts: readonly Host[]
  /** He lives here as well. */
  readonly staysHere: boolean
}
export type Routes = ReadonlyMap<Key, Route>

/** What became of a message at one host. */
export interface Outcome {
  readonly recipient: Key
  readonly host: string
  readonly status: 'delivered' | 'waiting' | 'refused'
  readonly code?: string
  readonly description?: string
}

/** The way to other hosts. */
export interface Federation {
  /** Satoshi that the operator adds to what a sender paid for a delivery, for each recipient; counted as given. */
  readonly budgetOf: (sender: Key) => number
  /** Those who live elsewhere. */
  routesOf(recipients: readonly Key[], box: string): Promise<Routes>
  /** @throws ERR_BUSY where so many more of this sender do not fit */
  checkRoom(sender: Key, count: number, bytes: number): void
  /** They are durable: resolves soon, with what is known of them then. */
  begin(places: readonly number[]): Promise<readonly Outcome[]>
}

/** Of what was signed: in base64 it must fit into the request of a host. */
const leavingBytes = 5 << 20
/** How long hosts are tried. */
const patienceMs = 3 * dayMs

const nobody: Routes = new Map()

/** @throws ERR_RECIPIENT_ELSEWHERE for what was signed in a way that other hosts do not know; ERR_BUSY */
export async function routesOf(
  federation: Federation | undefined,
  { request: { recipients, box }, from, carrier, proof, signed }: Letter,
): Promise<Routes> {
  // What a host brought goes no further.
  if (federation === undefined || carrier !== undefined) return nobody
  const routes = await federation.routesOf(recipients, box)
  if (routes.size === 0) return routes
  if (proof.protocol === 'brc103')
    throw new BoxError('ERR_RECIPIENT_ELSEWHERE', 'the recipient lives on another host: send this over HTTP')
  if (signed.length > leavingBytes)
    throw new BoxError('ERR_MESSAGE_BODY_TOO_LARGE', 'for another host the whole request is too large', {
      ...{ limit: leavingBytes, broadcast: false },
    })
  const bytes = routes.size * signed.length
  checkCopies(bytes)
  federation.checkRoom(from, routes.size, bytes)
  return routes
}

/** Those of them that leave, in their own batch, or left before and are not there yet; the places by which they are known. */
export function putDepartures(
  batch: RecordBatch,
  boxed: readonly Boxed[],
  {
    letter,
    routes,
    dues,
    txid,
    budgetOf,
  }: { letter: Letter; routes: Routes; dues: Dues; txid?: Hash; budgetOf: (sender: Key) => number },
): number[] {
  const { from: sender, request, signed } = letter
  const { signature, nonce, yourNonce } = letter.proof
  const protocol = letter.proof.protocol as SignedMessage['protocol'] // `routesOf` refuses the other one
  const message: SignedMessage = { protocol, signature, nonce, yourNonce, signed }
  const share = Math.floor(dues.delivery / routes.size)
  return boxed.flatMap(({ owner, recordId, recipient, messageId, place, isNew }) => {
    const route = routes.get(recipient)
    if (route === undefined) return []
    // The same again: it is told how it goes. What was left here before he lived elsewhere leaves now.
    if (!isNew && findDeparture(batch, place) !== undefined) return [place]
    if (!isNew && route.staysHere) return []
    const departure: Departure = {
      ...{ place, owner, recordId, sender, recipient, messageId, message },
      ...{ box: request.box, at: batch.now, until: batch.now + patienceMs, budget: share + budgetOf(sender) },
      ...{ ...route, delivered: [], refused: [], isTold: false },
      // Of several recipients some may have it: then it has paid for that.
      ...(boxed.length === 1 && txid !== undefined && { txid }),
    }
    putDeparture(batch, departure)
    return [place]
  })
}

/** Of what a host brings, that which none brought before, in the batch that remembers it. */
export function newlyBrought(
  batch: RecordBatch,
  { from, carrier, proof }: Letter,
  messages: readonly BoxMessage[],
): readonly BoxMessage[] {
  if (carrier === undefined) return messages
  const digest = fromHex(proof.digest)
  return messages.filter(({ recipient }) => {
    const hash = broughtHash(from, digest, recipient)
    if (wasBrought(batch, hash)) return false
    putBrought(batch, hash)
    return true
  })
}

/** What their sender is told. @throws ERR_DELIVERY_FAILED when nobody has got it, and nobody will */
export function resultsOf(
  names: readonly SentResult[],
  routes: Routes,
  outcomes: readonly Outcome[],
): SentResult[] {
  const results = names.map((name) => {
    const hosts = outcomes.filter(({ recipient }) => recipient === name.recipient)
    if (hosts.length === 0) return name
    const has = (status: Outcome['status']) => hosts.some((each) => each.status === status)
    const isThere = routes.get(name.recipient)?.staysHere || has('delivered')
    const delivery = isThere ? 'delivered' : has('waiting') ? 'waiting' : 'refused'
    return { ...name, delivery, hosts: hosts.map(({ recipient: _, ...told }) => told) } as const
  })
  if (results.every((result) => 'delivery' in result && result.delivery === 'refused'))
    throw new BoxError('ERR_DELIVERY_FAILED', 'no host of the recipient takes this message', { results })
  return results
}
