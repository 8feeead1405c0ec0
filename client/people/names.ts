/** What people may be called: by themselves, and by the user. */
import { MarketError } from '../../market/errors.ts'
import { Identity, identityLimits } from '../../market/identity-file.ts'

const { labelLength } = identityLimits

/** @throws ERR_MALFORMED unless it may stand in an identity file */
export function checkLabel(name: string): void {
  if (Identity.shape.label.safeParse(name).success) return
  throw new MarketError(
    'ERR_MALFORMED',
    `the label has 1 to ${labelLength} characters, none of them for control`,
  )
}

/** Control characters, line ends, what turns the direction of writing, and what separates folders. */
const unfit = /[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069/\\]/u

/** @throws ERR_MALFORMED unless it is fit to be typed, shown and told from a path */
export function checkAlias(name: string): void {
  const isFit = name.isWellFormed() && !unfit.test(name) && name.trim() === name && !/^\.{1,2}$/.test(name)
  if (isFit && name.length > 0 && name.length <= labelLength) return
  throw new MarketError(
    'ERR_MALFORMED',
    `the name of a friend has 1 to ${labelLength} printable characters, without / and \\`,
  )
}
