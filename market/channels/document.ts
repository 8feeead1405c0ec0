/** A document of adverts, in a file or at a URL: the text of one on each line (docs/protocol.md §12.8). */
import { advertLimits } from '../advert.ts'
import { utf8Length } from '../bytes.ts'
import { channelLimits } from './channel.ts'

/** About 20 000 adverts. */
export const documentBytes = 16 * 1024 * 1024

/** The lines that may be adverts. */
export function* linesOf(document: string): Generator<string> {
  let taken = 0
  for (let from = 0; from < document.length && taken < channelLimits.texts; ) {
    const end = document.indexOf('\n', from)
    const line = document.slice(from, end === -1 ? undefined : end).trim()
    from = end === -1 ? document.length : end + 1
    if (line === '' || utf8Length(line) > advertLimits.textBytes) continue
    taken += 1
    yield line
  }
}
