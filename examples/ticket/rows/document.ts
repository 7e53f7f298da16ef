export type Completed = 'yes' | 'partly' | 'no'

/** The document's table: how far it came with so many people who grab tickets at once. */
export const documented: readonly { readonly requests: number; readonly completed: Completed }[] = [
  { requests: 1e5, completed: 'yes' },
  { requests: 1e6, completed: 'yes' },
  { requests: 5e6, completed: 'partly' },
  { requests: 1e7, completed: 'no' },
  { requests: 5e7, completed: 'no' },
]

/** 1e5 as the document writes it. */
export const short = (requests: number): string => requests.toExponential().replace('e+', 'e')
