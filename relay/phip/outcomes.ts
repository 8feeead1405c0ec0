/**
 * What becomes of a departure, as operations on a batch: hosts go from it as they take or refuse its message, and with the last
 * it ends, its record too, and its sender hears of it. All of that is one commit, and harmless when it is repeated.
 */
import { markUnused } from '../store/box-settings.ts'
import { acknowledgeBoxed } from '../store/boxes.ts'
import { type Departure, dropDeparture, findDeparture, putDeparture } from '../store/departures.ts'
import type { Reader } from '../store/postings.ts'
import { headOf, type RecordBatch } from '../store/records.ts'
import { type Host, isSame } from '../../contracts/overlay/host.ts'
import { type HostReport, putReport, type Report, type ReportParts } from './reports.ts'

/** Of a host that had no chance to say anything until the end. */
export const expiredCode = 'ERR_DELIVERY_EXPIRED'

/** Of a host that has said its last word: it has the message, or refuses it. */
export interface Fate {
  readonly host: Host
  /** Why it has not. */
  readonly code?: string | undefined
}

export interface Ending {
  readonly reports: ReportParts
  /** Whether somebody waits for the answer, and will be told there. */
  readonly isAwaited: (place: number) => boolean
  readonly onDropped: (place: number, code: string) => void
}

/** Writes what these hosts have come to; false where that was known, or the departure is over. */
export function settle(batch: RecordBatch, place: number, fates: readonly Fate[], ending: Ending): boolean {
  const departure = findDeparture(batch, place)
  if (departure === undefined) return false
  const settled = fates.filter(({ host }) => departure.hosts.some((one) => isSame(one, host)))
  if (settled.length === 0 && departure.hosts.length > 0) return false
  const changed: Departure = {
    ...departure,
    hosts: departure.hosts.filter((one) => !settled.some(({ host }) => isSame(one, host))),
    delivered: [
      ...departure.delivered,
      ...settled.flatMap(({ host: { domain }, code }) => (code === undefined ? domain : [])),
    ],
    refused: [
      ...departure.refused,
      ...settled.flatMap(({ host: { domain }, code }) => (code === undefined ? [] : { domain, code })),
    ],
  }
  if (changed.hosts.length === 0) end(batch, changed, ending)
  else putDeparture(batch, changed)
  return true
}

/** Nobody tries any more. How many hosts that leaves out. */
export function settleExpired(batch: RecordBatch, place: number, ending: Ending): number {
  const { hosts = [] } = findDeparture(batch, place) ?? {}
  const fates = hosts.map((host) => ({ host, code: expiredCode }))
  return settle(batch, place, fates, ending) ? fates.length : 0
}

/** Where its recipient has acknowledged it here: he needs it nowhere else. False where the departure is over. */
export function settleReceived(batch: RecordBatch, place: number, ending: Ending): boolean {
  const departure = findDeparture(batch, place)
  if (departure === undefined) return false
  end(batch, departure, ending, true)
  return true
}

/** Whether its record is still there. */
export function isKept(from: Reader, { owner, recordId, place }: Departure): boolean {
  const head = headOf(from, { owner, recordId })
  return head !== undefined && head.state !== 'deleted' && head.place === place
}

/** Its sender is told that it is on its way, to the hosts that are returned. */
export function markTold(batch: RecordBatch, place: number): readonly Host[] {
  const departure = findDeparture(batch, place)
  if (departure === undefined) return []
  if (!departure.isTold) putDeparture(batch, { ...departure, isTold: true })
  return departure.hosts
}

function end(batch: RecordBatch, departure: Departure, ending: Ending, isReceived = false): void {
  const { place, owner, recordId, sender, staysHere, isTold } = departure
  dropDeparture(batch, place)
  if (!staysHere) acknowledgeBoxed(batch, [{ owner, recordId, place }])
  // The same payment brings the same message again.
  if (!isReceived && !staysHere && departure.delivered.length === 0 && departure.txid !== undefined)
    markUnused(batch, departure.txid)
  // After a crash nobody waits, and its sender may have heard nothing.
  if (!isTold && ending.isAwaited(place)) return
  const report = reportOf(departure, batch.now, isReceived)
  const dropped = putReport(batch, ending.reports, { place, reader: sender, report })
  if (dropped !== undefined) ending.onDropped(place, dropped)
}

function reportOf(departure: Departure, at: number, isReceived: boolean): Report {
  const { messageId, recipient, box, delivered, refused } = departure
  const hosts: HostReport[] = [
    ...delivered.map((host) => ({ host, status: 'delivered' as const })),
    ...refused.map(({ domain: host, code }) => ({ host, status: statusOf(code), code })),
  ]
  const isGivenUp = refused.some(({ code }) => code === expiredCode)
  const failed = isGivenUp ? 'given up' : 'refused'
  const status = isReceived || delivered.length > 0 ? 'delivered' : failed
  return { messageId, recipient, messageBox: box, status, hosts, at }
}

const statusOf = (code: string): HostReport['status'] => (code === expiredCode ? 'given up' : 'refused')
