/** QR codes for terminals: two modules in each character, in colours of its own, whatever those of the terminal are. */
import { encode } from 'uqr'
import { MarketError } from '../../market/errors.ts'

/** Modules of light around the code that readers want. */
const border = 4

export interface QrCode {
  readonly columns: number
  readonly text: string
}

/** @throws ERR_TOO_LARGE when it is more than the largest code holds (2953 bytes) */
export function qrCode(text: string, { colours }: { colours: boolean }): QrCode {
  const { data, size } = encoded(text)
  const isDark = (row: number, column: number) => data[row]?.[column] ?? false
  const lines: string[] = []
  for (let row = 0; row < size; row += 2) {
    const line = Array.from({ length: size }, (_, at) => halves(isDark(row, at), isDark(row + 1, at))).join(
      '',
    )
    lines.push(colours ? `${lightOnDark}${line}${plain}` : line)
  }
  return { columns: size, text: `${lines.join('\n')}\n` }
}

const [lightOnDark, plain] = ['\x1b[97;40m', '\x1b[0m']

const halves = (upperIsDark: boolean, lowerIsDark: boolean): string =>
  upperIsDark ? (lowerIsDark ? ' ' : '▄') : lowerIsDark ? '▀' : '█'

function encoded(text: string) {
  try {
    return encode(text, { ecc: 'L', border })
  } catch (cause) {
    throw new MarketError('ERR_TOO_LARGE', 'this is too much for a QR code: give the file, or the URL', {
      cause,
    })
  }
}
