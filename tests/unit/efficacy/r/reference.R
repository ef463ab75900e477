# Corners of the public interface, computed by R: ties, time 0, delayed entry, strata, one subject, nothing but
# censorings. Run: Rscript reference.R > reference.json. The versions that computed it stand in the result.
suppressMessages({library(survival); library(pROC); library(nlme); library(jsonlite)})

plain <- function(x) unname(as.vector(x))
exactly <- coxph.control(eps = 1e-11, iter.max = 50)

of_curve <- function(s, level) {
  fit <- survfit(s ~ 1, conf.type = "log-log", conf.int = level)
  points <- quantile(fit, c(.25, .5, .75))
  list(time = fit$time, at_risk = fit$n.risk, events = fit$n.event, censored = fit$n.censor, survival = fit$surv,
       ci_low = fit$lower, ci_high = fit$upper,
       quantiles = list(plain(points$quantile), plain(points$lower), plain(points$upper)))
}

curves <- list(
  one_event = list(time = 5, event = 1),
  one_censoring = list(time = 5, event = 0),
  all_at_one_time = list(time = c(3, 3, 3, 3), event = c(1, 1, 0, 1)),
  event_at_zero = list(time = c(0, 0, 1, 2, 2), event = c(1, 0, 1, 1, 0)),
  flat_at_half = list(time = c(4, 1, 2, 3, 5, 6), event = c(0, 1, 1, 1, 0, 0)),
  flat_at_half_to_the_end = list(time = c(1, 2, 3, 4), event = c(1, 1, 0, 0)),
  thirds = list(time = rep(1:9, each = 2), event = rep(1, 18)),
  heavy_ties = list(time = c(2, 2, 2, 1, 1, 3, 3, 3, 3, 4, 4, 4), event = c(1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 0, 0)),
  all_censored = list(time = c(2, 7, 7), event = c(0, 0, 0)),
  entry = list(time = c(4, 5, 6, 7, 8, 9, 9), event = c(1, 0, 1, 1, 0, 1, 0), entry = c(0, 3, 2, 5, 6, 1, 7)),
  entry_at_a_death = list(time = c(4, 5, 6, 8), event = c(1, 1, 1, 0), entry = c(0, 4, 3, 5))
)
for (name in names(curves)) for (level in c(.95, .8)) {
  case <- curves[[name]]
  s <- if (is.null(case$entry)) Surv(case$time, case$event) else Surv(case$entry, case$time, case$event)
  curves[[name]][[paste0("level_", level)]] <- of_curve(s, level)
}

set.seed(4)
n <- 48
frame <- data.frame(stop = sample(1:14, n, TRUE), event = rbinom(n, 1, .7), x = round(rnorm(n), 1), z = sample(0:1, n, TRUE),
                    group = sample(c("a", "b", "c"), n, TRUE), stratum = sample(1:3, n, TRUE))
frame$stop[frame$stratum == 3][1:2] <- c(30, 31)
frame$start <- pmax(frame$stop - sample(1:15, n, TRUE), 0)
whole <- function(d) list(chi2 = d$chisq, df = sum((if (is.matrix(d$exp)) rowSums(d$exp) else d$exp) > 0) - 1)
logranks <- list(
  groups = whole(survdiff(Surv(stop, event) ~ group, frame)),
  stratified = whole(survdiff(Surv(stop, event) ~ group + strata(stratum), frame)),
  # the score test of the exact partial likelihood is the log-rank test with its hypergeometric variance
  entry = list(chi2 = coxph(Surv(start, stop, event) ~ z, frame, ties = "exact")$score, df = 1),
  entry_stratified = list(chi2 = coxph(Surv(start, stop, event) ~ z + strata(stratum), frame, ties = "exact")$score, df = 1)
)

of_cox <- function(formula) {
  fit <- coxph(formula, frame, ties = "efron", control = exactly)
  found <- list(coef = plain(coef(fit)), se = plain(sqrt(diag(vcov(fit)))), log_likelihood = fit$loglik[2],
                lrt_p = plain(summary(fit)$logtest["pvalue"]), p_value = plain(summary(fit)$coefficients[, 5]))
  if (!grepl("strata", deparse(formula)[1])) for (transform in c("km", "rank", "identity"))
    found[[paste0("zph_", transform)]] <- plain(cox.zph(fit, transform = transform)$table[, "chisq"])
  found
}
cox <- list(
  plain = of_cox(Surv(stop, event) ~ x + z),
  stratified = of_cox(Surv(stop, event) ~ x + z + strata(stratum)),
  entry = of_cox(Surv(start, stop, event) ~ x + z),
  entry_stratified = of_cox(Surv(start, stop, event) ~ x + z + strata(stratum))
)

score <- c(1, 1, 2, 2, 2, 3, 3, 4, 5, 5, 5, 6)
label <- c(0, 0, 0, 1, 0, 1, 0, 1, 1, 0, 1, 1)
curve <- roc(label, score, direction = "<", levels = c(0, 1), quiet = TRUE)
best <- coords(curve, "best", best.method = "youden", ret = c("threshold", "sensitivity", "specificity"))
y <- c(3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8)
rank_test <- suppressWarnings(cor.test(score, y, method = "spearman", exact = FALSE))
logistic <- glm(label ~ score + y, family = binomial, control = glm.control(epsilon = 1e-14, maxit = 100))

set.seed(9)
subject <- rep(1:14, each = 5)
week <- rep(c(0, 3, 6, 12, 18), 14) + round(rnorm(70, 0, .2), 1)
responder <- subject %% 2
y2 <- round(3 + rnorm(14, 0, .7)[subject] + (-.02 + .03 * responder + rnorm(14, 0, .03)[subject]) * week + rnorm(70, 0, .15), 3)
mixed <- lme(y2 ~ week * responder, random = ~ week | subject,
             control = lmeControl(tolerance = 1e-12, msTol = 1e-12, niterEM = 50, msMaxIter = 500, maxIter = 500))

tables <- list(c(1, 0, 0, 1), c(5, 0, 3, 4), c(10, 2, 3, 15), c(1, 9, 11, 3), c(30, 20, 15, 40))
fisher <- lapply(tables, function(cells) {
  found <- fisher.test(matrix(cells, 2, byrow = TRUE))
  list(cells = cells, odds_ratio = plain(found$estimate), ci_low = found$conf.int[1], ci_high = found$conf.int[2], p = found$p.value)
})
proportions <- lapply(list(c(0, 1), c(1, 1), c(0, 40), c(40, 40), c(1, 1000), c(7, 9)), function(case) {
  list(case = case, limits = lapply(c(.8, .95, .999), function(level) plain(binom.test(case[1], case[2], conf.level = level)$conf.int)))
})

cat(toJSON(list(
  versions = list(R = R.version.string, survival = paste(packageVersion("survival")), pROC = paste(packageVersion("pROC")),
                  nlme = paste(packageVersion("nlme"))),
  curves = curves, frame = as.list(frame), logranks = logranks, cox = cox,
  concordance = concordance(Surv(stop, event) ~ x, frame, reverse = TRUE)$concordance,
  association = list(score = score, label = label, y = y, delong = lapply(c(.95, .8), function(level) plain(ci.auc(curve, conf.level = level))),
                     youden = as.list(best), rho = plain(rank_test$estimate), rho_p = rank_test$p.value,
                     logistic = list(coef = plain(coef(logistic))[-1], se = plain(sqrt(diag(vcov(logistic))))[-1])),
  mixed = list(subject = subject, week = week, responder = responder, y = y2, coef = plain(fixef(mixed)), se = plain(sqrt(diag(vcov(mixed))))),
  fisher = fisher, proportions = proportions
), digits = NA, auto_unbox = TRUE, null = "null", na = "null", pretty = FALSE), "\n")
