"""Plans of warm starts: all checks run first, then all changes are made, or none."""

from warmstart_keras.plan.make_plan import make_plan, record_untouched
from warmstart_keras.plan.options import Options
from warmstart_keras.plan.plan import WarmStartPlan
from warmstart_keras.plan.warm_start import plan_warm_start, warm_start
