/** A message in a box, as its live listeners are told of it. */
import type { Key } from '../../../market/units.ts'
import { contentOfBody } from '../../store/body.ts'
import { BoxRow, listPrefix } from '../../store/box-rows.ts'
import { bodyKey, placeKey } from '../../store/keys.ts'
import type { Arrival, Store } from '../../store/store.ts'
import { decodeContent } from '../content.ts'

export interface LiveMessage {
  readonly sender: Key
  readonly messageId: string
  /** As its sender gave it, not wrapped as in listings; a payment stays in the box. */
  readonly body: unknown
}

/** `undefined` where it has been acknowledged already. */
export function readMessage(
  store: Pick<Store, 'get'>,
  { place, receiver, tag }: Arrival,
): LiveMessage | undefined {
  const row = store.get(placeKey(listPrefix(receiver, tag), place))
  const kept = store.get(bodyKey(place))
  if (row === undefined || kept === undefined) return undefined
  const { messageId, body } = decodeContent(contentOfBody(kept))
  return { sender: BoxRow.decode(row).sender, messageId, body: JSON.parse(body) }
}
