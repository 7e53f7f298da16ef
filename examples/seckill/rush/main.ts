import { rushProgram } from '../../shared/rush/program.js'
import { target } from './rush.js'

await rushProgram(target)
